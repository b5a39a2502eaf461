/** Token bucket as GCRA over a plain object: one number of state, no timer. Pure; never fails. */

export interface Bucket {
  /** Theoretical arrival time of the next message, ms since 1970; 0 = never used. */
  readonly tat: number;
}

export interface BucketRate {
  readonly perSecond: number;
  /** Messages that may come at once, 1 or more. */
  readonly burst: number;
}

export type Taken =
  | { readonly ok: true; readonly bucket: Bucket }
  | { readonly ok: false; readonly waitMs: number };

export const fullBucket: Bucket = { tat: 0 };

/**
 * Takes one token at `now` (ms). A clock that jumped back must not lock a tenant out for the length of the jump,
 * so a time further ahead than a drained bucket can be counts as a drained bucket.
 * @example take({ tat: 0 }, { perSecond: 10, burst: 1 }, 5_000) // { ok: true, bucket: { tat: 5_100 } }
 */
export function take(bucket: Bucket, rate: BucketRate, now: number): Taken {
  const intervalMs = 1000 / rate.perSecond;
  const toleranceMs = (Math.max(1, rate.burst) - 1) * intervalMs;
  const tat = Math.min(bucket.tat, now + toleranceMs + intervalMs);
  const waitMs = tat - toleranceMs - now;
  if (waitMs > 0) return { ok: false, waitMs };
  return { ok: true, bucket: { tat: Math.max(tat, now) + intervalMs } };
}
