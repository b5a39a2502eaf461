/** Writes statuses, each only when it says something else than what is stored, and an event for what is worth one. */
import type { Condition, Reason } from "#crds/api/v1alpha1/conditions.ts";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import type { Clock, KubeClient, KubeObject } from "#operator/kube/types.ts";
import { stored, transitions, storedIn, type StoredCondition } from "./conditions.ts";
import type { EventRecorder } from "./events.ts";
import { kinds } from "./kinds.ts";

export interface StatusWriter {
  /** @returns the resourceVersion written, undefined when there was nothing to write. Rejects as the client does. */
  write(
    name: "tenants" | "pools" | "shapes",
    object: KubeObject,
    wanted: WantedStatus,
  ): Promise<string | undefined>;
}

interface WantedStatus {
  /** Of the spec that this speaks of. */
  readonly generation: number | undefined;
  readonly conditions: readonly Condition[];
  readonly fields: object;
}

export interface StatusWriterOptions {
  readonly client: Pick<KubeClient, "apply">;
  readonly clock: Pick<Clock, "now">;
  readonly events: EventRecorder;
}

export function createStatusWriter({ client, clock, events }: StatusWriterOptions): StatusWriter {
  return {
    async write(name, object, wanted) {
      const before = object["status"];
      const status = statusOf(before, wanted, clock.now());
      if (canonicalJson(before ?? {}) === canonicalJson(status)) return undefined;
      const { apiVersion, kind, metadata } = object;
      const target = {
        name: metadata.name,
        ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
      };
      const answer = await client.apply(
        kinds[name],
        { apiVersion, kind, metadata: target, status },
        { subresource: "status" },
      );
      for (const one of transitions(before, status.conditions)) tell(events, object, { before, one });
      return answer.metadata.resourceVersion;
    },
  };
}

/** The status as it would be written. */
function statusOf(before: unknown, { generation, conditions, fields }: WantedStatus, now: number) {
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: stored(conditions, { before, generation, now }),
    ...fields,
  };
}

/** Of Ready and Programmed, the reasons that somebody has to do something about. */
const refusals: ReadonlySet<string> = new Set<Reason>([
  "PodsRefused",
  "WriteRefused",
  "NameTaken",
  "QueueRefused",
]);

/** What is wrong, and what was wrong and is not any more; that a new resource is fine is no news. */
function tell(
  events: EventRecorder,
  object: KubeObject,
  { before, one }: { before: unknown; one: StoredCondition },
): void {
  // They say once more what another condition says.
  if (one.type === "Reconciling" || one.type === "Stalled") return;
  const isProblem = one.status !== "True" && one.type !== "Ready" && one.type !== "Programmed";
  const isRefused = refusals.has(one.reason);
  const isGoing = one.type === "Deleting" || one.type === "Moving";
  if (isProblem || isRefused) {
    events.record(object, {
      type: "Warning",
      reason: one.reason,
      note: one.message || `${one.type} is ${one.status}`,
    });
    return;
  }
  // Of tenants there are too many for news that is good.
  if (object.kind !== "SendingPool" && !isGoing) return;
  const earlier = storedIn(before).find(({ type }) => type === one.type);
  const hasRecovered = earlier !== undefined && earlier.status !== "True" && one.status === "True";
  if (!isGoing && !hasRecovered) return;
  const isLoss = one.reason === "DrainTimedOut" || one.reason === "QueueKept";
  const type = isLoss ? "Warning" : "Normal";
  events.record(object, { type, reason: one.reason, note: one.message || `${one.type} is ${one.status}` });
}
