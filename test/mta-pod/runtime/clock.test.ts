import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { steadyClock, systemClock } from "#mta-pod/runtime/clock.ts";

function clocks(): { world: { wall: number; mono: number }; steady: ReturnType<typeof steadyClock> } {
  const world = { wall: 1_700_000_000_000, mono: 5000 };
  return { world, steady: steadyClock({ now: () => world.wall, monotonic: () => world.mono }) };
}

describe("steadyClock()", () => {
  test("goes on by monotonic time when the wall clock steps by seconds, either way", () => {
    for (const step of [-59_000, -1, 1, 59_000]) {
      const { world, steady } = clocks();
      const begin = steady.now();
      world.mono += 250;
      world.wall += 250 + step;
      assert.equal(steady.now() - begin, 250, `step of ${step} ms`);
    }
  });

  test("takes over a step of a minute or more, and is steady from there", () => {
    for (const step of [-3_600_000, 60_000, 86_400_000]) {
      const { world, steady } = clocks();
      const told: number[] = [];
      steady.onStep((byMs) => void told.push(byMs));
      world.wall += step;
      assert.equal(steady.now(), world.wall, `step of ${step} ms`);
      assert.deepEqual(told, [step]);
      world.mono += 10;
      world.wall += 40;
      assert.equal(steady.now(), 1_700_000_000_000 + step + 10);
    }
  });

  test("gives whole milliseconds", () => {
    const { world, steady } = clocks();
    world.mono += 1.75;
    assert.equal(steady.now() % 1, 0);
    assert.equal(steady.monotonic(), 5001.75);
  });
});

test("systemClock is the system's", () => {
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1000);
  const first = systemClock.monotonic();
  assert.ok(systemClock.monotonic() >= first);
});
