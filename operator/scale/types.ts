/** What the autoscaler is told and what it answers. Types only; times are ms of one clock that never jumps back. */

/** `spec.autoscaling` of a pool, with its defaults, and the pool's number of shards. */
export interface ScaleSpec {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  /** No pod without a shard: more pods than shards send nothing more. */
  readonly shards: number;
  readonly targetBacklogPerReplica: number;
  readonly maxBacklogAgeMs: number;
  readonly scaleDown: { readonly stabilizationMs: number; readonly maxStepPercent: number };
}

/** What one pod said of itself (`backlog` and `busy` of its report). */
export interface PodSample {
  readonly pod: string;
  /** When it was asked. */
  readonly at: number;
  /** Entries that only want for a pod: what limits, back-off or suspension hold is not among them. */
  readonly sendable: number;
  /** How long the first of them has waited, ms; 0 = there is none. */
  readonly oldestMs: number;
  /** Share of time that its event loop was busy, 0 to 1. */
  readonly busy: number;
}

/** Kept between two decisions; plain data. A new one is `startScale`'s. */
export interface ScaleState {
  readonly replicas: number;
  /** Of the last change, up or down. */
  readonly changedAt: number;
  /** Complete samples have come without a gap since then. */
  readonly watchedSince: number;
  /** What was needed within the window of scale-down: times ascend, numbers descend. */
  readonly needed: readonly { readonly at: number; readonly replicas: number }[];
}

/** Why the number is what it is; the words of events and of operator/README.md. */
export const scaleReasons = {
  Bounds: "It was outside of minReplicas and maxReplicas (or above the number of shards).",
  Backlog: "More, for there is more sendable mail than the target.",
  Age: "More, for sendable mail waits longer than maxBacklogAge.",
  Busy: "More, for the pods' event loops are busy.",
  Idle: "Fewer, for fewer were needed during the whole window.",
  Steady: "Neither more nor fewer are needed.",
  AtMaximum: "More are needed and not allowed.",
  Settling: "More are needed, and those that were added do not report yet.",
  Stabilizing: "Fewer are needed, but not for long enough, or the last step is too fresh.",
  PartialData: "Not every pod reports: more may be added, none is taken away.",
  NoData: "No pod reports: the number stays as it is.",
} as const;

export type ScaleReason = keyof typeof scaleReasons;

export interface ScaleInput {
  readonly spec: ScaleSpec;
  /** In any order; the newest of a pod counts, and none that is older than a minute. */
  readonly samples: readonly PodSample[];
  readonly state: ScaleState;
  readonly now: number;
}

export interface ScaleDecision {
  readonly replicas: number;
  readonly reason: ScaleReason;
  readonly state: ScaleState;
}
