/** Which changes of a status are worth an event: what is wrong, of pools also what is right again, each once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Condition } from "#crds/api/v1alpha1/conditions.ts";
import { condition, stored, summed } from "#operator/reconcile/conditions.ts";
import { createStatusWriter } from "#operator/reconcile/status-writer.ts";
import { pool, tenant } from "./world.ts";

const now = Date.parse("2026-11-29T12:00:00Z");

/** Each a `type status reason [message]`. */
function conditionsOf(texts: readonly string[]): Condition[] {
  return texts.map((text) => {
    const [type, status, reason, ...message] = text.split(" ") as [
      Condition["type"],
      Condition["status"],
      Condition["reason"],
      ...string[],
    ];
    return condition(type, status, { reason, message: message.join(" ") });
  });
}

async function told(
  kind: "pools" | "tenants",
  before: readonly Condition[] | undefined,
  after: readonly Condition[],
): Promise<string[]> {
  const events: string[] = [];
  const writer = createStatusWriter({
    client: { apply: async (_type, object) => object },
    clock: { now: () => now },
    events: { record: (_object, { type, reason, note }) => void events.push(`${type} ${reason}: ${note}`) },
  });
  const object = kind === "pools" ? pool("nats://nats:4222") : tenant("acme");
  if (before !== undefined)
    object["status"] = {
      conditions: stored(before, { before: undefined, generation: 1, now: now - 60_000 }),
    };
  await writer.write(kind, object, { generation: 1, conditions: after, fields: {} });
  return events;
}

const fine = ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs", "Programmed True Programmed"];
const isReady = "Ready True Ready 2 of 2 pods are ready";

const cases: [
  string,
  "pools" | "tenants",
  readonly string[] | undefined,
  readonly string[],
  readonly string[],
][] = [
  ["a new tenant that is fine", "tenants", undefined, [...fine, isReady], []],
  ["a new pool that is fine", "pools", undefined, [...fine, isReady], []],
  [
    "a domain that is another's",
    "tenants",
    undefined,
    ["Accepted False DomainConflict a.example is b's"],
    ["Warning DomainConflict: a.example is b's"],
  ],
  [
    "a Secret that went",
    "tenants",
    [...fine, isReady],
    ["ResolvedRefs False SecretNotFound"],
    ["Warning SecretNotFound: ResolvedRefs is False"],
  ],
  ["that it came back, of a tenant", "tenants", ["ResolvedRefs False SecretNotFound"], [fine[1] ?? ""], []],
  [
    "that it came back, of a pool",
    "pools",
    ["ResolvedRefs False SecretNotFound"],
    [fine[1] ?? ""],
    ["Normal ResolvedRefs: ResolvedRefs is True"],
  ],
  [
    "another reason of what was wrong",
    "tenants",
    ["ResolvedRefs False SecretNotFound"],
    ["ResolvedRefs False SecretInvalid no PEM"],
    ["Warning SecretInvalid: no PEM"],
  ],
  [
    "another message alone",
    "tenants",
    ["ResolvedRefs False SecretInvalid no PEM"],
    ["ResolvedRefs False SecretInvalid no key"],
    [],
  ],
  [
    "pods on their way",
    "pools",
    [...fine, isReady],
    ["Programmed False PodsBehind", "Ready False RollingOut"],
    [],
  ],
  ["nobody can be asked", "pools", [...fine, isReady], ["Programmed Unknown QueueUnreachable away"], []],
  [
    "pods that refuse",
    "pools",
    ["Programmed False PodsBehind 1 of 2"],
    ["Programmed False PodsRefused 1 of 2 ready pods"],
    ["Warning PodsRefused: 1 of 2 ready pods"],
  ],
  [
    "ready again",
    "pools",
    ["Ready False PodsNotReady 1 of 2 pods are ready"],
    [isReady],
    ["Normal Ready: 2 of 2 pods are ready"],
  ],
  [
    "a move",
    "tenants",
    [...fine],
    [...fine, "Moving True LeftBehind 5 messages are queued in the pool mail/old"],
    ["Normal LeftBehind: 5 messages are queued in the pool mail/old"],
  ],
  [
    "a drain",
    "tenants",
    [...fine],
    [...fine, "Deleting True Draining 5 messages are queued"],
    ["Normal Draining: 5 messages are queued"],
  ],
  [
    "a drain that took too long",
    "tenants",
    ["Deleting True Draining 5 messages are queued"],
    ["Deleting True DrainTimedOut 2 messages are queued"],
    ["Warning DrainTimedOut: 2 messages are queued"],
  ],
];

test("write(): one event for a change of status or reason that somebody should see", async () => {
  for (const [name, kind, before, after, expected] of cases)
    assert.deepEqual(
      await told(kind, before === undefined ? undefined : conditionsOf(before), conditionsOf(after)),
      expected,
      name,
    );
});

test("write(): what Reconciling and Stalled repeat is told once", async () => {
  for (const reason of ["NameTaken", "WriteRefused"] as const) {
    const after = summed(conditionsOf(fine), condition("Ready", "False", { reason, message: "no" }));
    assert.equal(after.filter((one) => one.reason === reason).length, 2);
    assert.deepEqual(await told("pools", undefined, after), [`Warning ${reason}: no`]);
  }
});

test("write(): nothing new is neither written nor told", async () => {
  const conditions = conditionsOf(["Accepted False Invalid no"]);
  const kept = { before: undefined, generation: 1, now };
  const object = tenant("acme");
  object["status"] = { observedGeneration: 1, conditions: stored(conditions, kept), domainCount: 1 };
  const writer = createStatusWriter({
    client: { apply: () => assert.fail("written") },
    clock: { now: () => now + 60_000 },
    events: { record: () => assert.fail("told") },
  });
  const wanted = { generation: 1, conditions, fields: { domainCount: 1 } };
  assert.equal(await writer.write("tenants", object, wanted), undefined);
});

test("condition(): a long message ends at what the kind takes, and says that it was cut", () => {
  const of = (length: number) =>
    condition("Ready", "False", { reason: "NoPods", message: "x".repeat(length) });
  assert.equal(of(1024).message, "x".repeat(1024));
  assert.equal(of(5000).message, `${"x".repeat(1023)}…`);
});
