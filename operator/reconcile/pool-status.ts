/** What is known of a pool → its status: conditions, numbers of pods, what is queued. Pure. */
import type { Condition } from "#crds/api/v1alpha1/conditions.ts";
import { condition, summed } from "./conditions.ts";

export interface PoolFacts {
  /** Accepted and ResolvedRefs, by the compiler. */
  readonly verdict: readonly Condition[];
  readonly isCompiled: boolean;
  /** Pods that should be there. */
  readonly wanted: number;
  readonly pods: PodCounts;
  /** Waits for its turn: pools are not rolled all at once. */
  readonly isWaitingToRoll: boolean;
  /** Of the ready pods. */
  readonly programmed: { readonly ready: number; readonly current: number; readonly refusing: number };
  readonly config: { readonly generation: number; readonly digest: string } | undefined;
  /** As the pods last said. */
  readonly queue: QueueNumbers | undefined;
  /** Why the pods cannot be asked; undefined = they can. */
  readonly natsTrouble: string | undefined;
  /** Why the server does not suit the pool. */
  readonly unsuitable: string | undefined;
  readonly writeTrouble:
    | { readonly reason: "WriteRefused" | "NameTaken"; readonly message: string }
    | undefined;
  readonly isPaused: boolean;
  readonly isDeleting: boolean;
}

interface PodCounts {
  readonly replicas: number;
  readonly ready: number;
  readonly updated: number;
  readonly terminating: number;
  /** The Deployment's controller has seen its newest form. */
  readonly isObserved: boolean;
}

export interface QueueNumbers {
  readonly messages: number;
  readonly sendable: number;
  /** ms since 1970; undefined = there is none. */
  readonly oldestAt: number | undefined;
}

export function poolConditions(facts: PoolFacts): Condition[] {
  const conditions = summed([...facts.verdict, programmedOf(facts)], readyOf(facts));
  if (facts.isPaused)
    conditions.push(condition("Paused", "True", { reason: "Paused", message: "by mailboat.dev/paused" }));
  if (facts.isDeleting) conditions.push(condition("Deleting", "True", { reason: "Draining" }));
  return conditions;
}

function programmedOf(facts: PoolFacts): Condition {
  const { ready, current, refusing } = facts.programmed;
  const of = `${current} of ${ready} ready pods`;
  if (!facts.isCompiled) return condition("Programmed", "False", { reason: "NotAccepted" });
  if (facts.natsTrouble !== undefined)
    return condition("Programmed", "Unknown", { reason: "QueueUnreachable", message: facts.natsTrouble });
  if (facts.wanted === 0 && ready === 0) return condition("Programmed", "True", { reason: "ScaledToZero" });
  if (ready === 0) return condition("Programmed", "False", { reason: "NoPods" });
  if (current === ready) return condition("Programmed", "True", { reason: "Programmed", message: of });
  return condition("Programmed", "False", {
    reason: refusing > 0 ? "PodsRefused" : "PodsBehind",
    message: of,
  });
}

function readyOf(facts: PoolFacts): Condition {
  const { pods, wanted } = facts;
  const of = `${pods.ready} of ${wanted} pods are ready`;
  if (facts.writeTrouble !== undefined) return condition("Ready", "False", facts.writeTrouble);
  if (facts.unsuitable !== undefined)
    return condition("Ready", "False", { reason: "QueueUnreachable", message: facts.unsuitable });
  if (wanted === 0 && pods.replicas === 0) return condition("Ready", "True", { reason: "ScaledToZero" });
  if (!pods.isObserved || pods.updated < Math.min(wanted, pods.replicas))
    return condition("Ready", "False", { reason: "RollingOut", message: of });
  if (pods.replicas > wanted) return condition("Ready", "False", { reason: "Scaling", message: of });
  if (pods.ready < wanted) return condition("Ready", "False", { reason: "PodsNotReady", message: of });
  const message = facts.isWaitingToRoll ? `${of}; a new template waits for other pools` : of;
  return condition("Ready", "True", { reason: "Ready", message });
}

/** The rest of the status. Numbers that are not known are left out. */
export function poolFields(
  facts: PoolFacts & { readonly selector: string; readonly tenants: number | undefined },
) {
  const { pods, programmed, config, queue, tenants } = facts;
  return {
    replicas: pods.replicas,
    readyReplicas: pods.ready,
    updatedReplicas: pods.updated,
    terminatingReplicas: pods.terminating,
    programmedReplicas: programmed.current,
    selector: facts.selector,
    ...(tenants === undefined ? {} : { tenants }),
    ...(config === undefined ? {} : { config }),
    ...(queue === undefined ? {} : { queue: queueOf(queue) }),
  };
}

function queueOf({ messages, sendable, oldestAt }: QueueNumbers) {
  const oldest = oldestAt === undefined ? undefined : `${new Date(oldestAt).toISOString().slice(0, 19)}Z`;
  return { messages, sendable, ...(oldest === undefined ? {} : { oldest }) };
}

/**
 * Whether numbers of the queue are worth a write of their own: a change of a tenth, and every 15 s what changed at all;
 * the rest of the status is written at once.
 */
export function isNewsOfQueue(before: unknown, after: QueueNumbers, sinceMs: number): boolean {
  if (sinceMs >= 15_000) return true;
  const [messages, sendable] = ["messages", "sendable"].map((field) => numberIn(before, field));
  return hasChanged(messages, after.messages) || hasChanged(sendable, after.sendable);
}

function hasChanged(before: number | undefined, after: number): boolean {
  return before === undefined || Math.abs(after - before) * 10 >= Math.max(before, 10);
}

function numberIn(value: unknown, field: string): number | undefined {
  const found: unknown = typeof value === "object" && value !== null ? Reflect.get(value, field) : undefined;
  return typeof found === "number" ? found : undefined;
}
