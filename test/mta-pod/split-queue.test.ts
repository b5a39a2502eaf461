import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createSplitQueue } from "#mta-pod/split-queue.ts";

const most = { children: 10, bytes: 100 };

function world() {
  const begun: string[] = [];
  const idle = new Set<string>();
  const queue = createSplitQueue<ReturnType<typeof one>>(most, ({ name }) => {
    if (!idle.has(name)) begun.push(name);
    return !idle.has(name);
  });
  return { queue, begun, idle };
}

function one(name: string, children = 1, bytes = 1) {
  return { name, children, bytes };
}

for (const [what, of] of [
  ["children", { children: 4 }],
  ["bytes", { bytes: 40 }],
] as const)
  test(`as many begin as their ${what} allow, the next when one has left, in order`, () => {
    const { queue, begun } = world();
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => ({ ...one(name), ...of }));
    assert.ok(a && b && c && d);
    for (const each of [a, b, c, d]) queue.enter(each);
    assert.deepEqual(begun, ["a", "b"]);
    queue.leave(b);
    queue.leave(b);
    assert.deepEqual(begun, ["a", "b", "c"]);
    queue.leave(a);
    assert.deepEqual(begun, ["a", "b", "c", "d"]);
  });

test("one that is larger than all waits for the others to leave and goes alone, and none that is smaller overtakes it", () => {
  const { queue, begun } = world();
  const [small, large, next] = [one("small"), one("large", 1, 1000), one("next")];
  for (const each of [small, large, next]) queue.enter(each);
  assert.deepEqual(begun, ["small"]);
  queue.leave(small);
  assert.deepEqual(begun, ["small", "large"]);
  queue.leave(large);
  assert.deepEqual(begun, ["small", "large", "next"]);
});

test("what does not begin takes no room, also when many do not", () => {
  const { queue, begun, idle } = world();
  const first = one("first", 10);
  queue.enter(first);
  for (let count = 0; count < 20_000; count++) queue.enter(one("idle", 10));
  queue.enter(one("last"));
  idle.add("idle");
  queue.leave(first);
  assert.deepEqual(begun, ["first", "last"]);
});

test("what is dropped does not begin, and those behind it come up", () => {
  const { queue, begun } = world();
  for (const each of [one("a", 9), one("b", 9), one("c"), one("d", 9)]) queue.enter(each);
  const dropped = queue.drop(({ name }) => name === "b" || name === "d");
  assert.deepEqual(
    dropped.map(({ name }) => name),
    ["b", "d"],
  );
  assert.deepEqual(begun, ["a", "c"]);
});

test("whatever comes and leaves, the bounds hold, the order too, and each has its turn", () => {
  const sizes = fc.tuple(fc.integer({ min: 1, max: 14 }), fc.integer({ min: 0, max: 140 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(sizes, { maxLength: 60 }), (steps) => {
      const running: ReturnType<typeof one>[] = [];
      const begun: string[] = [];
      const queue = createSplitQueue<ReturnType<typeof one>>(most, (each) => {
        running.push(each);
        begun.push(each.name);
        const sum = (of: "children" | "bytes"): number =>
          running.reduce((total, item) => total + item[of], 0);
        assert.ok(running.length === 1 || (sum("children") <= 10 && sum("bytes") <= 100));
        return true;
      });
      const leave = (): void => {
        const [first] = running.splice(0, 1);
        if (first !== undefined) queue.leave(first);
      };
      for (const [index, [children, bytes, isEnd]] of steps.entries()) {
        queue.enter(one(String(index), children, bytes));
        if (isEnd) leave();
      }
      while (running.length > 0) leave();
      assert.deepEqual(
        begun,
        steps.map((_, index) => String(index)),
      );
    }),
  );
});
