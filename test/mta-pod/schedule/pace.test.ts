import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Pace } from "#mta-pod/schedule/pace.ts";
import { mostWithin, start } from "./world.ts";

/** Fires whenever the pace is open, on timers that are late by what `late` says. */
function times(rate: number, late: () => number, untilMs: number): number[] {
  const pace = new Pace();
  pace.setRate(rate);
  const fired: number[] = [];
  for (let now = start; now < start + untilMs; now = Math.max(now, Math.ceil(pace.nextAt)) + late()) {
    if (!pace.isOpen(now)) continue;
    pace.charge(now);
    fired.push(now);
  }
  return fired;
}

test("a rate is reached to 90 % and never exceeded in a sliding second, on timers of 1 ms", () => {
  for (const rate of [1, 2, 20, 33, 50, 100, 500, 1000]) {
    const fired = times(rate, () => 0, 10_000);
    assert.ok(mostWithin(fired, 1000) <= rate, `rate ${rate}: ${mostWithin(fired, 1000)} in a second`);
    assert.ok(fired.length >= rate * 9, `rate ${rate}: only ${fired.length} in ten seconds`);
  }
});

test("a rate per minute holds over a sliding minute", () => {
  const fired = times(30 / 60, () => 0, 600_000);
  assert.ok(mostWithin(fired, 60_000) <= 30);
  assert.ok(fired.length >= 285);
});

test("no lateness of timers makes a second hold more than the rate", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2000 }),
      fc.infiniteStream(
        fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 90 })),
      ),
      (rate, lateness) => {
        const fired = times(rate, () => lateness.next().value ?? 0, 3000);
        assert.ok(mostWithin(fired, 1000) <= rate);
      },
    ),
    { numRuns: 60 },
  );
});

test("reserve() books moments one distance apart", () => {
  const pace = new Pace();
  pace.setRate(10);
  const waits = [0, 0, 0, 0].map(() => pace.reserve(start));
  assert.deepEqual(waits, [0, 104, 207, 310]);
});

test("setRate() keeps what was charged, at the new distance", () => {
  const pace = new Pace();
  pace.setRate(100);
  pace.charge(start);
  pace.setRate(1);
  assert.equal(pace.isOpen(start + 1000), false);
  assert.equal(pace.isOpen(start + 1031), true);
  pace.setRate(undefined);
  assert.equal(pace.isOpen(start + 1), true);
});
