import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decideScale, startScale } from "#operator/scale/scale.ts";
import type { PodSample, ScaleState } from "#operator/scale/types.ts";
import { run, samplesOf, spec } from "./traces.ts";

const now = 10_000_000;

function pods(count: number, each: Partial<PodSample>): PodSample[] {
  return Array.from({ length: count }, (_, index) => ({
    pod: `pod-${index}`,
    at: now,
    sendable: 0,
    oldestMs: 0,
    busy: 0,
    ...each,
  }));
}

function stateOf(replicas: number, watchedMs = 0): ScaleState {
  return { ...startScale(replicas, now - watchedMs) };
}

const table: readonly [
  what: string,
  replicas: number,
  samples: PodSample[],
  watchedMs: number,
  expected: [number, string],
][] = [
  ["an idle pool at the minimum stays", 1, pods(1, {}), 900_000, [1, "Steady"]],
  [
    "a backlog just above the target is within the tolerance",
    2,
    pods(2, { sendable: 1050 }),
    0,
    [2, "Steady"],
  ],
  ["a backlog of three pods' worth asks for three", 2, pods(2, { sendable: 1500 }), 0, [3, "Backlog"]],
  ["a huge backlog doubles at most", 2, pods(2, { sendable: 1_000_000 }), 0, [4, "Backlog"]],
  ["at the maximum it says so", 16, pods(16, { sendable: 1_000_000 }), 0, [16, "AtMaximum"]],
  ["old mail asks in proportion to its age", 4, pods(4, { sendable: 900, oldestMs: 90_000 }), 0, [6, "Age"]],
  [
    "a handful of old mail asks for nothing",
    4,
    pods(4, { sendable: 20, oldestMs: 900_000 }),
    0,
    [4, "Stabilizing"],
  ],
  ["busy loops ask for more without a backlog", 4, pods(4, { busy: 0.95 }), 0, [6, "Busy"]],
  ["an idle pool is not shrunk before its window is over", 8, pods(8, {}), 200_000, [8, "Stabilizing"]],
  ["an idle pool loses one pod at a time", 8, pods(8, {}), 300_000, [7, "Idle"]],
  ["a large pool loses maxStepPercent", 64, pods(64, {}), 300_000, [16, "Bounds"]],
  ["pods that work are kept without a backlog", 8, pods(8, { busy: 0.6 }), 900_000, [8, "Steady"]],
  ["without data nothing changes", 8, [], 900_000, [8, "NoData"]],
  ["old samples are no data", 8, pods(8, { at: now - 61_000 }), 900_000, [8, "NoData"]],
  ["with a pod silent none is taken away", 8, pods(7, {}), 900_000, [8, "PartialData"]],
  ["with a pod silent more may be added", 8, pods(7, { sendable: 2000 }), 900_000, [14, "Backlog"]],
  ["below the minimum it is raised at once", 0, [], 0, [1, "Bounds"]],
];

for (const [what, replicas, samples, watchedMs, expected] of table)
  test(`decideScale(): ${what}`, () => {
    const decision = decideScale({ spec, samples, state: stateOf(replicas, watchedMs), now });
    assert.deepEqual([decision.replicas, decision.reason], expected);
    assert.equal(decision.state.replicas, decision.replicas);
  });

test("decideScale() takes maxStepPercent of a large pool in one step", () => {
  const wide = { ...spec, maxReplicas: 64 };
  const decision = decideScale({ spec: wide, samples: pods(64, {}), state: stateOf(64, 300_000), now });
  assert.equal(decision.replicas, 58);
});

test("decideScale() never wants more pods than shards, nor fewer than the minimum", () => {
  const narrow = { ...spec, minReplicas: 2, shards: 8 };
  const full = pods(8, { sendable: 1e6 });
  assert.equal(decideScale({ spec: narrow, samples: full, state: stateOf(8), now }).reason, "AtMaximum");
  const wide = { ...narrow, minReplicas: 12 };
  assert.equal(decideScale({ spec: wide, samples: full, state: stateOf(8), now }).replicas, 12);
});

test("decideScale() waits for what it added, then goes on without those that never report", () => {
  const grown = decideScale({ spec, samples: pods(2, { sendable: 9000 }), state: stateOf(2), now });
  assert.equal(grown.replicas, 4);
  const later = (ms: number, count: number) =>
    decideScale({
      spec,
      samples: pods(count, { sendable: 9000, at: now + ms }),
      state: grown.state,
      now: now + ms,
    });
  assert.deepEqual([later(10_000, 2).replicas, later(10_000, 2).reason], [4, "Settling"]);
  assert.equal(later(10_000, 4).replicas, 8);
  assert.equal(later(60_000, 2).replicas, 8);
});

test("decideScale() counts only the newest sample of a pod", () => {
  const samples = [...pods(1, { sendable: 5000, at: now - 1000 }), ...pods(1, { sendable: 10 })];
  assert.equal(decideScale({ spec, samples, state: stateOf(1), now }).reason, "Steady");
});

const load = fc.record({
  backlog: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 100_000 })),
  oldest: fc.integer({ min: 0, max: 600 }),
  work: fc.double({ min: 0, max: 40, noNaN: true }),
  reporting: fc.oneof({ weight: 4, arbitrary: fc.constant(1000) }, fc.integer({ min: 0, max: 20 })),
});
const phases = fc
  .array(load, { minLength: 1, maxLength: 12 })
  .map((loads) => loads.map((one, index) => ({ at: index * 200, ...one })));

test("decideScale() stays within bounds, doubles at most, and steps down at most once a minute", () => {
  fc.assert(
    fc.property(phases, fc.integer({ min: 1, max: 16 }), (given, replicas) => {
      const told = run({ replicas, seconds: 2600, phases: given });
      let downAt = Number.NEGATIVE_INFINITY;
      for (const [index, { second, replicas: count }] of told.entries()) {
        assert.ok(count >= spec.minReplicas && count <= spec.maxReplicas);
        const before = told[index - 1]?.replicas ?? replicas;
        assert.ok(count <= before * 2);
        if (count >= before) continue;
        assert.ok(second - downAt >= 60 && second >= 300, `down after ${second - downAt} s`);
        assert.ok(before - count <= Math.max(1, Math.floor(before / 10)));
        downAt = second;
      }
    }),
    { numRuns: 300 },
  );
});

test("decideScale() takes nothing away within the window after more were needed, or after a gap in the data", () => {
  fc.assert(
    fc.property(phases, (given) => {
      const told = run({ replicas: 4, seconds: 2600, phases: given });
      let calmSince = 0;
      for (const [index, { second, replicas, reason }] of told.entries()) {
        if (["Backlog", "Age", "Busy", "AtMaximum", "Settling", "NoData", "PartialData"].includes(reason))
          calmSince = second;
        if (replicas < (told[index - 1]?.replicas ?? 4)) assert.ok(second - calmSince >= 300);
      }
    }),
    { numRuns: 300 },
  );
});

test("decideScale() does not swing under a load that stays", () => {
  fc.assert(
    fc.property(load, fc.integer({ min: 1, max: 16 }), (steady, replicas) => {
      const phase = { at: 0, ...steady, oldest: 0, reporting: 1000 };
      const told = run({ replicas, seconds: 7200, phases: [phase] });
      const last = told.slice(-60).map((one) => one.replicas);
      assert.equal(new Set(last).size, 1, last.join(" "));
    }),
    { numRuns: 300 },
  );
});

test("decideScale() is frozen by silence and goes on from there", () => {
  const grown = run({ replicas: 1, seconds: 60, phases: [{ at: 0, backlog: 8000 }] }).at(-1)?.replicas;
  const silent = run({
    replicas: 1,
    seconds: 7200,
    phases: [
      { at: 0, backlog: 8000 },
      { at: 70, reporting: 0 },
    ],
  });
  assert.equal(grown, 8);
  assert.deepEqual(silent.at(-1), { second: 7200, replicas: 8, reason: "NoData" });
  assert.equal(samplesOf({ at: 0, reporting: 0 }, 8, 0).length, 0);
});
