import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { createSeriesBound, otherSeries } from "#mta-pod/telemetry/series.ts";

const hourMs = 3_600_000;

function bound(limit: number) {
  const world = { time: 1000, forgotten: [] as string[] };
  const clock = { now: () => world.time, monotonic: () => world.time };
  const { label } = createSeriesBound(limit, clock, (name) => void world.forgotten.push(name));
  return { world, label };
}

describe("createSeriesBound()", () => {
  test("names the first of them, and calls the rest other", () => {
    const { label } = bound(2);
    assert.deepEqual(["a", "b", "c", "a", "d"].map(label), ["a", "b", otherSeries, "a", otherSeries]);
  });

  test("keeps a name for an hour after its last use, and then makes room", () => {
    const { world, label } = bound(2);
    label("a");
    label("b");
    world.time += hourMs - 1;
    assert.equal(label("b"), "b");
    assert.equal(label("c"), otherSeries);
    world.time += 1001;
    assert.equal(label("c"), "c");
    assert.deepEqual(world.forgotten, ["a"]);
    assert.equal(label("a"), otherSeries);
  });

  test("shows after an hour who is used more than one that is shown, and forgets that one", () => {
    const { world, label } = bound(2);
    for (const name of ["a", "b", "a", "a", "c", "d", "c", "c", "c"]) label(name);
    world.time += hourMs - 1;
    assert.deepEqual(["b", "c"].map(label), ["b", otherSeries], "each is shown for an hour at least");
    world.time += 1;
    assert.equal(label("c"), "c", "five times in the hour, b twice");
    assert.deepEqual(world.forgotten, ["b"]);
    assert.deepEqual(["a", "b", "d"].map(label), ["a", otherSeries, otherSeries]);
  });

  test("finds the busiest among many that come once each", () => {
    const { world, label } = bound(3);
    for (const name of ["a", "b", "c"]) label(name);
    for (let turn = 0; turn < 1000; turn++) ["big", `small ${turn}`].map(label);
    world.time += hourMs - 1;
    for (const name of ["a", "b", "c"]) label(name);
    world.time += 1;
    assert.equal(label("big"), "big");
    assert.equal(world.forgotten.length, 1);
  });

  test("never has more than its limit of names in use, whatever comes", () => {
    const steps = fc.array(fc.tuple(fc.nat(30), fc.nat(2 * hourMs)), { maxLength: 200 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 5 }), (all, limit) => {
        const { world, label } = bound(limit);
        const named = new Set<string>();
        for (const [name, wait] of all) {
          world.time += wait;
          const given = label(`tenant ${name}`);
          for (const gone of world.forgotten.splice(0)) named.delete(gone);
          if (given !== otherSeries) named.add(given);
          assert.ok(named.size <= limit);
        }
      }),
    );
  });
});
