import assert from "node:assert/strict";
import { test } from "node:test";
import type { Condition, Reason } from "#crds/api/v1alpha1/conditions.ts";
import { condition, stored, summed, transitions } from "#operator/reconcile/conditions.ts";

type Kstatus = "Terminating" | "InProgress" | "Failed" | "Current";

interface Resource {
  readonly metadata: { readonly generation: number; readonly deletionTimestamp?: string };
  readonly status: {
    readonly observedGeneration?: number;
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
  };
}

/**
 * What Flux, `helm --wait` and Argo make of a resource: kubernetes-sigs/cli-utils, pkg/kstatus/status, `checkGenericProperties`
 * and `checkReadyCondition`, for kinds that they do not know.
 */
function kstatusOf({ metadata, status }: Resource): Kstatus {
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  if (status.observedGeneration !== undefined && status.observedGeneration !== metadata.generation)
    return "InProgress";
  for (const { type, status: is } of status.conditions) {
    if (type === "Reconciling" && is === "True") return "InProgress";
    if (type === "Stalled" && is === "True") return "Failed";
  }
  const ready = status.conditions.find(({ type }) => type === "Ready");
  return ready === undefined || ready.status === "True" ? "Current" : "InProgress";
}

const now = Date.parse("2026-11-29T12:00:00Z");

const is = (type: Condition["type"], reason: Reason, status: Condition["status"] = "True"): Condition =>
  condition(type, status, { reason });

const accepted = is("Accepted", "Accepted");
const resolved = is("ResolvedRefs", "ResolvedRefs");
const programmed = is("Programmed", "Programmed");
const ready = is("Ready", "Ready");

function resource(conditions: readonly Condition[], last: Condition, observed = 3): Resource {
  const all = stored(summed(conditions, last), { before: undefined, generation: observed, now });
  return { metadata: { generation: 3 }, status: { observedGeneration: observed, conditions: all } };
}

for (const [what, conditions, last, expected] of [
  ["all is well", [accepted, resolved, programmed], ready, "Current"],
  ["pods are behind", [accepted, resolved, is("Programmed", "PodsBehind", "False")], ready, "InProgress"],
  [
    "pods cannot be asked",
    [accepted, resolved, is("Programmed", "PodsUnknown", "Unknown")],
    ready,
    "InProgress",
  ],
  [
    "a Secret is missing",
    [accepted, is("ResolvedRefs", "SecretNotFound", "False"), programmed],
    ready,
    "InProgress",
  ],
  ["pods start", [accepted, resolved, programmed], is("Ready", "PodsNotReady", "False"), "InProgress"],
  [
    "the API server refuses",
    [accepted, resolved, programmed],
    is("Ready", "WriteRefused", "False"),
    "InProgress",
  ],
  ["a name is taken", [accepted, resolved, programmed], is("Ready", "NameTaken", "False"), "Failed"],
  [
    "a domain is another's",
    [is("Accepted", "DomainConflict", "False"), resolved, programmed],
    ready,
    "Failed",
  ],
  ["it is invalid", [is("Accepted", "Invalid", "False"), resolved, programmed], ready, "Failed"],
  ["it may not", [accepted, is("ResolvedRefs", "RefNotPermitted", "False"), programmed], ready, "Failed"],
] as const)
  test(`summed(): kstatus is ${expected} when ${what}`, () =>
    assert.equal(kstatusOf(resource(conditions, last)), expected));

test("stored(): a status of the generation before is InProgress for kstatus, however good it was", () => {
  assert.equal(kstatusOf(resource([accepted, resolved, programmed], ready, 2)), "InProgress");
});

test("stored() keeps the time of a condition while its status stays, and transitions() tells of the others", () => {
  const before = { conditions: stored([accepted, programmed], { before: undefined, generation: 1, now }) };
  const behind = is("Programmed", "PodsBehind", "False");
  const after = stored([is("Accepted", "Accepted"), behind], { before, generation: 2, now: now + 5000 });
  assert.deepEqual(
    after.map(({ lastTransitionTime }) => lastTransitionTime),
    ["2026-11-29T12:00:00Z", "2026-11-29T12:00:05Z"],
  );
  assert.deepEqual(
    transitions(before, after).map(({ type }) => type),
    ["Programmed"],
  );
});
