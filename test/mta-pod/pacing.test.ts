import assert from "node:assert/strict";
import { describe, mock, test } from "node:test";
import { createPacing } from "#mta-pod/pacing.ts";

function world() {
  mock.timers.enable({ apis: ["setInterval"] });
  let now = 1_000;
  const state = { fill: 0, busy: 1, until: new Map<number, number>() };
  const told: (readonly number[])[] = [];
  const pacing = createPacing({
    clock: { monotonic: () => now },
    pressure: {
      tell: (shards) => void told.push(shards),
      until: (shard) => state.until.get(shard) ?? 0,
      close: () => {},
    },
    ownedShards: () => [1, 2],
    fill: () => state.fill,
    utilization: () => state.busy,
  });
  const pass = (ms: number): void => {
    for (let step = 0; step < ms; step++) {
      now++;
      mock.timers.tick(1);
    }
  };
  return {
    pacing,
    state,
    told,
    pass,
    until: (ms: number) => now + ms,
    [Symbol.dispose]: () => mock.timers.reset(),
  };
}

describe("createPacing()", () => {
  test("lets mail in at once unless the shard's owner said that it cannot keep up", () => {
    using w = world();
    const entered: number[] = [];
    w.state.until.set(7, w.until(30));
    for (const shard of [6, 7]) w.pacing.enter(shard, () => entered.push(shard));
    assert.deepEqual(entered, [6]);
    w.pass(25);
    assert.deepEqual(entered, [6]);
    w.pass(10);
    assert.deepEqual(entered, [6, 7]);
  });

  test("holds nobody for longer than a moment, and lets all in at the end", () => {
    using w = world();
    const entered: string[] = [];
    w.state.until.set(7, w.until(1e9));
    w.pacing.enter(7, () => entered.push("a"));
    w.pass(106);
    assert.deepEqual(entered, ["a"]);
    w.pacing.enter(7, () => entered.push("b"));
    w.pacing.stop();
    w.pacing.enter(7, () => entered.push("c"));
    assert.deepEqual(entered, ["a", "b", "c"]);
  });

  test("says so while its own memory fills and its loop is busy, and only then", () => {
    using w = world();
    w.pacing.filled(0.1);
    w.pass(100);
    assert.deepEqual(w.told, []);
    w.state.fill = 0.5;
    w.pacing.filled(0.5);
    w.pass(45);
    assert.deepEqual(w.told, [
      [1, 2],
      [1, 2],
    ]);
    w.state.busy = 0.5;
    w.pass(100);
    assert.equal(w.told.length, 2, "a slow site fills the memory too; then there is time for more");
    w.state.busy = 1;
    w.state.fill = 0.1;
    w.pass(100);
    assert.equal(w.told.length, 2);
  });
});
