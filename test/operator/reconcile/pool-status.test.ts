/** What a pool's status says of pods, of the autoscaler and of the queue, and when numbers are worth a write. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pacedQueue, type PoolFacts, poolConditions, poolFields } from "#operator/reconcile/pool-status.ts";

const now = Date.parse("2026-11-29T12:00:00.500Z");

function facts(some: Partial<PoolFacts> = {}): PoolFacts {
  return {
    verdict: [],
    isCompiled: true,
    wanted: 2,
    pods: { replicas: 2, ready: 2, updated: 2, terminating: 0, isObserved: true },
    isWaitingToRoll: false,
    programmed: { ready: 2, current: 2, refusing: 0 },
    config: undefined,
    queue: undefined,
    scaling: undefined,
    natsTrouble: undefined,
    unsuitable: undefined,
    waiting: [],
    writeTrouble: undefined,
    isPaused: false,
    kept: undefined,
    ...some,
  };
}

const earlier = { reason: "Steady", since: "2026-11-29T11:00:00Z" };
const scalings: [string, PoolFacts["scaling"], unknown, unknown][] = [
  ["no autoscaler", undefined, undefined, undefined],
  ["none any more", undefined, earlier, undefined],
  ["the first reason", { reason: "NoData" }, undefined, { reason: "NoData", since: "2026-11-29T12:00:00Z" }],
  ["the same", { reason: "Steady" }, earlier, earlier],
  ["another", { reason: "AtMaximum" }, earlier, { reason: "AtMaximum", since: "2026-11-29T12:00:00Z" }],
  ["a new leader that has not decided yet", { reason: undefined }, earlier, earlier],
];

test("poolFields(): the autoscaler's reason, and since when it is that", () => {
  for (const [name, scaling, before, expected] of scalings) {
    const status = { autoscaling: before };
    const fields = poolFields(facts({ scaling }), { selector: "", tenants: 0, before: status, now });
    assert.deepEqual(fields.autoscaling, expected, name);
    assert.equal("autoscaling" in fields, expected !== undefined, name);
  }
});

test("poolFields(): pods that are wanted stand beside those that there are", () => {
  const { desiredReplicas, replicas } = poolFields(facts({ wanted: 4 }), {
    selector: "",
    tenants: undefined,
    before: undefined,
    now,
  });
  assert.deepEqual({ desiredReplicas, replicas }, { desiredReplicas: 4, replicas: 2 });
});

const told = { messages: 100, sendable: 40 };
const queues: [string, Parameters<typeof pacedQueue>, object][] = [
  ["the first numbers", [undefined, { ...told, oldestAt: undefined }, 0], { queue: told, isNews: true }],
  ["the same", [told, { ...told, oldestAt: undefined }, 60_000], { queue: told, isNews: false }],
  ["nobody answers", [told, undefined, 60_000], { queue: told, isNews: false }],
  [
    "a little less: later",
    [told, { messages: 95, sendable: 40, oldestAt: undefined }, 4000],
    { queue: told, isNews: false, dueMs: 11_000 },
  ],
  [
    "a little less, when it is due",
    [told, { messages: 95, sendable: 40, oldestAt: undefined }, 15_000],
    { queue: { messages: 95, sendable: 40 }, isNews: true },
  ],
  [
    "a tenth less",
    [told, { messages: 90, sendable: 40, oldestAt: undefined }, 0],
    { queue: { messages: 90, sendable: 40 }, isNews: true },
  ],
  ["another oldest", [told, { ...told, oldestAt: now }, 1000], { queue: told, isNews: false, dueMs: 14_000 }],
  [
    "another oldest, when it is due",
    [told, { ...told, oldestAt: now }, 15_000],
    { queue: { ...told, oldest: "2026-11-29T12:00:00Z" }, isNews: true },
  ],
];

test("pacedQueue(): a tenth at once, the rest every 15 s, and what is held back has a time", () => {
  for (const [name, args, expected] of queues) assert.deepEqual(pacedQueue(...args), expected, name);
});

test("poolConditions(): a pool without pods yet that should have some is not scaled to zero", () => {
  const nothing = { replicas: 0, ready: 0, updated: 0, terminating: 0, isObserved: false };
  const trouble = { reason: "WriteRefused", message: "no" } as const;
  const none = { ready: 0, current: 0, refusing: 0 };
  const of = (wanted: number): string[] =>
    poolConditions(facts({ wanted, pods: nothing, programmed: none, writeTrouble: trouble }))
      .filter(({ type }) => type === "Programmed")
      .map(({ status, reason }) => `${status} ${reason}`);
  assert.deepEqual([of(2), of(0)], [["False NoPods"], ["True ScaledToZero"]]);
});

test("poolConditions(): what JetStream refuses to pods is said before anything that follows from it", () => {
  const pods = { replicas: 2, ready: 0, updated: 1, terminating: 0, isObserved: true };
  const why = 'Cannot make stream MB_a_0: expected the server to hold 9 bytes x 3, got "no room" (10047)';
  const waiting = [
    { pod: "a", why },
    { pod: "b", why },
  ];
  const ready = poolConditions(facts({ pods, waiting })).find(({ type }) => type === "Ready");
  assert.deepEqual([ready?.status, ready?.reason], ["False", "QueueRefused"]);
  assert.equal(ready?.message, `a: ${why} (and 1 more pods)`);
});
