/** Token bucket as GCRA over a plain object: one number of state, no timer. Pure; never fails. */

export interface Bucket {
  /** Theoretical arrival time of the next message, ms since 1970; 0 = never used. */
  readonly tat: number;
}

export interface BucketRate {
  readonly perSecond: number;
  /** Messages that may come at once; below 1 counts as 1. */
  readonly burst: number;
}

export interface Taken {
  /** Tokens taken, 0 to `wanted`. */
  readonly count: number;
  readonly bucket: Bucket;
  /** When `count` is less than `wanted`: how long until the next token, else 0. */
  readonly waitMs: number;
}

export const fullBucket: Bucket = { tat: 0 };

/** Room for rounding: 3 tokens must not become 2 because of a last bit. */
const epsilon = 1e-6;

/**
 * Takes up to `wanted` tokens at `now` (ms). A clock that jumped back must not lock a tenant out for the length of the
 * jump, so a time further ahead than a drained bucket can be counts as a drained bucket.
 * @example take({ tat: 0 }, { rate: { perSecond: 10, burst: 1 }, now: 5_000, wanted: 1 }) // { count: 1, bucket: { tat: 5_100 }, waitMs: 0 }
 */
export function take(
  bucket: Bucket,
  { rate, now, wanted }: { rate: BucketRate; now: number; wanted: number },
): Taken {
  const intervalMs = 1000 / rate.perSecond;
  const capacityMs = Math.max(1, rate.burst) * intervalMs;
  const tat = Math.max(now, Math.min(bucket.tat, now + capacityMs));
  const available = Math.floor((now + capacityMs - tat) / intervalMs + epsilon);
  const count = Math.min(wanted, available);
  const next = tat + count * intervalMs;
  const waitMs = count < wanted ? Math.max(1, next + intervalMs - capacityMs - now) : 0;
  return { count, bucket: { tat: next }, waitMs };
}

/** One token that was taken was not used. */
export function giveBack(bucket: Bucket, rate: BucketRate): Bucket {
  return { tat: bucket.tat - 1000 / rate.perSecond };
}
