/** How often what leaves a queue is looked at, and told of: the more rarely the longer it takes and the more of it there is. Pure. */
import type { Configuration } from "./configuration.ts";
import { hasChanged } from "./pool-status.ts";

/** What is not gone in the first minutes may take days. */
export const looks = { shortestMs: 2000, longestMs: 60_000, shareOfAge: 0.1 } as const;
/** NATS is asked once per shard: of many tenants each is looked at as rarely as it takes for 200 questions a second. */
const questionMs = 5;

interface Load {
  /** Since it was looked at first. */
  readonly ageMs: number;
  readonly tenants: number;
  /** That one look asks for. */
  readonly shards: number;
}

export function paceMs({ ageMs, tenants, shards }: Load): number {
  const byAge = Math.min(Math.max(ageMs * looks.shareOfAge, looks.shortestMs), looks.longestMs);
  return Math.max(byAge, tenants * shards * questionMs);
}

export function shardsOf({ poolSpec }: Pick<Configuration, "poolSpec">, pools: readonly string[]): number {
  return pools.reduce((sum, pool) => sum + (poolSpec(pool)?.spec.queue.shards ?? 1), 0);
}

/** A number that is not worth a status of its own stays as it was told. */
export function worthTelling(before: number | undefined, after: number): number {
  return before === undefined || hasChanged(before, after) ? after : before;
}
