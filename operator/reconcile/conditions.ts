/** What the operator finds of a resource → its conditions, summed up for kstatus, with the times of their changes. Pure. */
import type { Condition, ConditionType, Reason } from "#crds/api/v1alpha1/conditions.ts";
import { maxConditionMessage } from "#crds/api/v1alpha1/conditions.ts";

export interface StoredCondition extends Condition {
  readonly observedGeneration?: number;
  /** RFC 3339, seconds. */
  readonly lastTransitionTime: string;
}

/** Only these are nothing that time or another try can cure: somebody has to change a resource (design.md §5). */
const terminalReasons: ReadonlySet<Reason> = new Set<Reason>([
  "Invalid",
  "DomainConflict",
  "UsernameConflict",
  "ConfigTooLarge",
  "RefNotPermitted",
  "NameTaken",
]);

export function condition(
  type: ConditionType,
  status: Condition["status"],
  because: { readonly reason: Reason; readonly message?: string },
): Condition {
  const { reason, message = "" } = because;
  const text =
    message.length > maxConditionMessage ? `${message.slice(0, maxConditionMessage - 1)}…` : message;
  return { type, status, reason, message: text };
}

/**
 * Ready, and Reconciling or Stalled while they are True. `ready` is what is left to say once the others are True.
 * kstatus reads the two before Ready: without them a resource that will never be ready looks as if it were under way.
 */
export function summed(conditions: readonly Condition[], ready: Condition): Condition[] {
  const accepted = find(conditions, "Accepted");
  const resolved = find(conditions, "ResolvedRefs");
  const programmed = find(conditions, "Programmed");
  const summary = summaryOf({ accepted, resolved, programmed, ready });
  if (summary.status === "True") return [...conditions, summary];
  const terminal = [accepted, resolved, programmed, ready].find(
    (one) => one !== undefined && one.status === "False" && terminalReasons.has(one.reason),
  );
  const { reason, message } = terminal ?? summary;
  const progress = condition(terminal === undefined ? "Reconciling" : "Stalled", "True", { reason, message });
  return [...conditions, summary, progress];
}

interface Parts {
  readonly accepted: Condition | undefined;
  readonly resolved: Condition | undefined;
  readonly programmed: Condition | undefined;
  readonly ready: Condition;
}

function summaryOf({ accepted, resolved, programmed, ready }: Parts): Condition {
  if (accepted?.status === "False")
    return condition("Ready", "False", { reason: "NotAccepted", message: accepted.message });
  if (resolved?.status === "False")
    return condition("Ready", "False", { reason: "RefsUnresolved", message: resolved.message });
  if (programmed?.status === "False" && ready.status === "True")
    return condition("Ready", "False", { reason: "NotProgrammed", message: programmed.message });
  if (programmed?.status === "Unknown" && ready.status === "True")
    return condition("Ready", "Unknown", { reason: programmed.reason, message: programmed.message });
  return ready;
}

function find(conditions: readonly Condition[], type: ConditionType): Condition | undefined {
  return conditions.find((one) => one.type === type);
}

/** As they are written: a condition keeps its time as long as its status stays the same. */
export function stored(
  conditions: readonly Condition[],
  { before, generation, now }: { before: unknown; generation: number | undefined; now: number },
): StoredCondition[] {
  const known = storedIn(before);
  const time = `${new Date(now).toISOString().slice(0, 19)}Z`;
  return conditions.map((one) => {
    const earlier = known.find(({ type, status }) => type === one.type && status === one.status);
    return {
      ...one,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: earlier?.lastTransitionTime ?? time,
    };
  });
}

/** The conditions of a status as the API server gave it; whatever else is there is passed over. */
export function storedIn(status: unknown): StoredCondition[] {
  if (typeof status !== "object" || status === null) return [];
  const conditions: unknown = Reflect.get(status, "conditions");
  if (!Array.isArray(conditions)) return [];
  return conditions.filter((one): one is StoredCondition => typeof one === "object" && one !== null);
}

/** What is worth an event: conditions that are there with another status or reason than before. */
export function transitions(before: unknown, after: readonly StoredCondition[]): StoredCondition[] {
  const known = storedIn(before);
  return after.filter((one) => {
    const earlier = known.find(({ type }) => type === one.type);
    return earlier?.status !== one.status || earlier.reason !== one.reason;
  });
}
