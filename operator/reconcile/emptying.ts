/**
 * What a pool still stores of a tenant that takes no new mail there: one look after the other, until it was seen empty twice. Asks
 * NATS, never rejects.
 */
import type { PoolQueue } from "#operator/streams/pool-queue.ts";
import type { Context } from "./context.ts";
import { isReady, isRunning } from "./pods.ts";

export interface Look {
  readonly pool: string;
  /** undefined = NATS cannot be asked. */
  readonly stored: number | undefined;
  /** Every pod that runs refuses its new mail by now. */
  readonly isClosed: boolean;
  /** Nothing was there, twice; until it is closed something may come. */
  readonly isBare: boolean;
  /** Nothing is there, and nothing comes. */
  readonly isEmpty: boolean;
}

export interface Emptying {
  look(tenant: string, pool: string): Promise<Look>;
  /** Has the pods drop what is there; not more often than is of use. */
  discard(tenant: string, pool: string): Promise<void>;
  /** Of a pool, or of all. */
  forget(tenant: string, pool?: string): void;
}

/** An empty queue has to be empty twice: an entry on its way from one shard to another may be missed once. */
const emptyLooks = 2;
/** Looks that follow each other sooner are one. */
const apartMs = 1000;
/** An act of discarding is begun again after so long. */
const discardAgainMs = 15_000;

/** Looks in a row that found the same. */
interface Streak {
  count: number;
  at: number;
}

interface Memory {
  readonly bare: Streak;
  /** Of those, the looks at what was closed. */
  readonly empty: Streak;
  discardedAt: number;
}

export function createEmptying(context: Context): Emptying {
  const { clock, streams } = context;
  const memory = new Map<string, Map<string, Memory>>();
  const memoryOf = (tenant: string, pool: string): Memory => {
    const pools = memory.get(tenant) ?? new Map<string, Memory>();
    memory.set(tenant, pools);
    const never = Number.NEGATIVE_INFINITY;
    const streak = (): Streak => ({ count: 0, at: never });
    const known = pools.get(pool) ?? { bare: streak(), empty: streak(), discardedAt: never };
    pools.set(pool, known);
    return known;
  };

  return {
    async look(tenant, pool) {
      const known = memoryOf(tenant, pool);
      // undefined too as long as the pool was not followed by this leader.
      const stored = await streams.known(pool)?.stored(tenant);
      const isClosed = isClosedIn(context, pool, tenant);
      const now = clock.monotonic();
      const isBare = isLong(known.bare, stored === 0, now);
      const isEmpty = isLong(known.empty, stored === 0 && isClosed, now);
      return { pool, stored, isClosed, isBare, isEmpty };
    },
    async discard(tenant, pool) {
      const queue = streams.known(pool);
      const known = memoryOf(tenant, pool);
      const now = clock.monotonic();
      if (queue === undefined || now - known.discardedAt < discardAgainMs) return;
      known.discardedAt = now;
      await drop(queue, tenant);
    },
    forget(tenant, pool) {
      if (pool === undefined) memory.delete(tenant);
      else memory.get(tenant)?.delete(pool);
    },
  };
}

/** Whether enough looks in a row have found it, this one included. */
function isLong(streak: Streak, isFound: boolean, now: number): boolean {
  if (!isFound) streak.count = 0;
  else if (streak.count === 0 || now - streak.at >= apartMs) {
    streak.count++;
    streak.at = now;
  }
  return streak.count >= emptyLooks;
}

/** Says what a pool still holds of a tenant; the tenant's own pool needs no name. */
export function leftIn({ pool, stored, isClosed }: Look, own: string): string {
  const said =
    stored === undefined
      ? "NATS cannot be asked what is queued"
      : stored === 0 && !isClosed
        ? "not all pods refuse its mail yet"
        : `${stored} messages are queued`;
  return pool === own ? said : `${said} in the pool ${pool}`;
}

async function drop(queue: PoolQueue, tenant: string): Promise<void> {
  const hasBegun = await queue.discard(tenant);
  // Nobody has it in its index then.
  if (!hasBegun) await queue.purge(tenant);
}

/**
 * Before every pod that runs has said so, an empty queue is no end: one that was not heard yet may take some mail. One that is not ready (on
 * its way out, away from NATS) has sessions that are open, and is not asked.
 */
function isClosedIn({ configuration, reports, stores }: Context, pool: string, tenant: string): boolean {
  const own = configuration.tenant(tenant);
  const place = own?.pool === pool ? own : configuration.leaver(tenant, pool);
  // No compile has seen its deletion yet: what the pods run takes its mail, or may after their start.
  if (place !== undefined && !place.isGoing) return false;
  // Left out of the pool's configuration, or of none: while a pool cannot be compiled, its pods run what they had.
  const since = place?.since ?? configuration.pool(pool)?.generation;
  const { told } = reports.of(pool);
  const alive = [...stores.podsOf(pool).values()].filter((pod) => isReady(pod) || isRunning(pod));
  return alive.every((pod) => {
    const runs = told.get(pod.metadata.name)?.report.generation;
    return isReady(pod) && since !== undefined && runs !== undefined && runs >= since;
  });
}
