/** When a deferred entry is tried again: doubling from the first delay to a cap, with jitter. Pure; never fails. */
import type { Random } from "#mta-pod/runtime/clock.ts";

export interface RetryPolicy {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Share of the delay by which it varies either way: entries deferred together must not come back together. */
const jitter = 0.15;

/**
 * Milliseconds to wait after an attempt; `attemptsBefore` counts those made before it, so 0 after the first.
 * The cap holds with the jitter too.
 * @example nextDelay(2, { firstMs: 60_000, maxMs: 3_600_000 }, () => 0.5) === 240_000
 */
export function nextDelay(attemptsBefore: number, policy: RetryPolicy, random: Random): number {
  const doubled = Math.min(policy.firstMs * 2 ** Math.max(0, attemptsBefore), policy.maxMs);
  const spread = doubled * (1 + jitter * (2 * random() - 1));
  return Math.max(1, Math.round(Math.min(spread, policy.maxMs)));
}
