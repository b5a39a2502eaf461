/** Every constant of the autoscaler that no field sets, with its reason. */
export const tuning = {
  /** Samples older than this say nothing; a pod that restarts is back sooner. */
  staleMs: 60_000,
  /** More at once is doubled at most: what was added has to take over shards before it can be seen to help. */
  maxGrowth: 2,
  /** So long a new pod may take to report before it counts as one that never will. */
  settleMs: 60_000,
  /** Between two steps down: each hands shards over. */
  downEveryMs: 60_000,
  /** Hysteresis: more above target × up, fewer only when what is left would be below target × down. */
  backlog: { up: 1.1, down: 0.8 },
  /** A backlog smaller than a tenth of the target a pod asks for no more pods, however old it is. */
  ageCountsFrom: 0.1,
  /** Mean share of time that event loops may be busy: more above `up`, aiming at `target`; fewer only if it stays below `down`. */
  busy: { up: 0.85, target: 0.7, down: 0.6 },
} as const;
