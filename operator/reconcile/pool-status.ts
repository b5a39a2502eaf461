/** What is known of a pool → its status: conditions, numbers of pods, what is queued. Pure. */
import type { Condition } from "#crds/api/v1alpha1/conditions.ts";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import type { ScaleReason } from "#operator/scale/types.ts";
import { condition, summed } from "./conditions.ts";
import { fieldOf } from "./pods.ts";

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
  /** As the pods say; undefined = none of them does. */
  readonly queue: QueueNumbers | undefined;
  /** What the autoscaler said last, if anything; undefined = the pool has none. */
  readonly scaling: { readonly reason: ScaleReason | undefined } | undefined;
  /** Why the pods cannot be asked; undefined = they can. */
  readonly natsTrouble: string | undefined;
  /** Why the server does not suit the pool. */
  readonly unsuitable: string | undefined;
  /** Why pods cannot begin, by pod. */
  readonly waiting: readonly { readonly pod: string; readonly why: string }[];
  readonly writeTrouble:
    | { readonly reason: "WriteRefused" | "NameTaken"; readonly message: string }
    | undefined;
  readonly isPaused: boolean;
  /** Messages that were queued when it was deleted; undefined = it is not. */
  readonly kept: number | undefined;
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
  if (facts.kept !== undefined)
    conditions.push(condition("Deleting", "True", { reason: "QueueKept", message: keptIn(facts.kept) }));
  return conditions;
}

/** What becomes of the queue of a pool that goes. */
export function keptIn(messages: number): string {
  if (messages === 0) return "nothing was queued";
  return `${messages} messages stay in JetStream: a SendingPool of this name, with as many shards, goes on with them`;
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
  const [first, ...others] = facts.waiting;
  if (first !== undefined) {
    const more = others.length === 0 ? "" : ` (and ${others.length} more pods)`;
    return condition("Ready", "False", {
      reason: "QueueRefused",
      message: `${first.pod}: ${first.why}${more}`,
    });
  }
  if (wanted === 0 && pods.replicas === 0) return condition("Ready", "True", { reason: "ScaledToZero" });
  if (!pods.isObserved || pods.updated < Math.min(wanted, pods.replicas))
    return condition("Ready", "False", { reason: "RollingOut", message: of });
  if (pods.replicas > wanted) return condition("Ready", "False", { reason: "Scaling", message: of });
  if (pods.ready < wanted) return condition("Ready", "False", { reason: "PodsNotReady", message: of });
  const message = facts.isWaitingToRoll ? `${of}; a new template waits for other pools` : of;
  return condition("Ready", "True", { reason: "Ready", message });
}

/** The rest of the status but the queue's numbers. What is not known is left out. */
export function poolFields(
  facts: PoolFacts,
  more: {
    readonly selector: string;
    readonly tenants: number | undefined;
    /** The status as the API server has it. */
    readonly before: unknown;
    /** ms since 1970. */
    readonly now: number;
  },
) {
  const { pods, programmed, config } = facts;
  const { selector, tenants } = more;
  const autoscaling = scalingOf(facts, fieldOf(more.before, "autoscaling"), more.now);
  return {
    desiredReplicas: facts.wanted,
    replicas: pods.replicas,
    readyReplicas: pods.ready,
    updatedReplicas: pods.updated,
    terminatingReplicas: pods.terminating,
    programmedReplicas: programmed.current,
    selector,
    ...(autoscaling === undefined ? {} : { autoscaling }),
    ...(tenants === undefined ? {} : { tenants }),
    ...(config === undefined ? {} : { config }),
  };
}

/** A reason that stays keeps its time; a new leader lets stand what was said before. */
function scalingOf({ scaling }: PoolFacts, before: unknown, now: number): unknown {
  if (scaling === undefined) return undefined;
  const { reason } = scaling;
  if (reason === undefined || reason === fieldOf(before, "reason")) return before;
  return { reason, since: timeOf(now) };
}

/** How long the status may say of the queue what is not quite true any more. */
const queuePaceMs = 15_000;

interface PacedQueue {
  /** To be written; undefined = nothing. */
  readonly queue: unknown;
  readonly isNews: boolean;
  /** ms until what is held back is due; undefined = nothing is. */
  readonly dueMs?: number;
}

/**
 * Numbers of the queue change all the time: they are written at once when they change by a tenth, else every 15 s. While no pod
 * says anything they stay as they were.
 */
export function pacedQueue(before: unknown, after: QueueNumbers | undefined, sinceMs: number): PacedQueue {
  if (after === undefined) return { queue: before, isNews: false };
  const queue = queueOf(after);
  if (canonicalJson(queue) === canonicalJson(before ?? null)) return { queue, isNews: false };
  const isNews =
    sinceMs >= queuePaceMs ||
    (["messages", "sendable"] as const).some((field) => hasChanged(fieldOf(before, field), after[field]));
  return isNews ? { queue, isNews } : { queue: before, isNews, dueMs: queuePaceMs - sinceMs };
}

function queueOf({ messages, sendable, oldestAt }: QueueNumbers) {
  const oldest = oldestAt === undefined ? undefined : timeOf(oldestAt);
  return { messages, sendable, ...(oldest === undefined ? {} : { oldest }) };
}

/** By a tenth, or one where there are few. */
export function hasChanged(before: unknown, after: number): boolean {
  return typeof before !== "number" || Math.abs(after - before) * 10 >= Math.max(before, 10);
}

function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
