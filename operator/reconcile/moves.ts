/**
 * Tenants that have been moved to another pool: what they left behind goes on being sent where it is, and here is looked at until it is
 * gone, the more rarely the longer it takes and the more of them there are. Asks NATS, never rejects.
 */
import type { Context } from "./context.ts";
import { type Emptying, leftIn } from "./emptying.ts";
import { hasChanged } from "./pool-status.ts";

interface Move {
  /** What is left, and where. */
  readonly message: string;
  readonly againMs: number;
}

export interface Moves {
  /** undefined: it has left nothing behind. */
  look(tenant: string): Promise<Move | undefined>;
  forget(tenant: string): void;
}

/** What is not gone in the first minutes may take days. */
const looks = { shortestMs: 2000, longestMs: 60_000, shareOfAge: 0.1 } as const;
/** NATS is asked once per shard: of many tenants each is looked at as rarely as it takes for 200 questions a second. */
const questionMs = 5;

interface Memory {
  readonly since: number;
  readonly dueAt: number;
  readonly message: string;
  /** Messages told of each pool. */
  readonly told: ReadonlyMap<string, number | undefined>;
}

export function createMoves(context: Context, emptying: Emptying): Moves {
  const { clock, configuration, formerPools, stores, log } = context;
  const memory = new Map<string, Memory>();

  const shardsOf = (pools: readonly { readonly pool: string }[]): number =>
    pools.reduce((sum, { pool }) => sum + (configuration.poolSpec(pool)?.spec.queue.shards ?? 1), 0);

  return {
    async look(tenant) {
      // One that is gone may come back with what it has stored.
      const pools = formerPools.of(tenant).filter((pool) => stores.get("pools", pool) !== undefined);
      if (!configuration.isKnown() || pools.length === 0) {
        memory.delete(tenant);
        return undefined;
      }
      const before = memory.get(tenant);
      const now = clock.monotonic();
      if (before !== undefined && now < before.dueAt)
        return { message: before.message, againMs: before.dueAt - now };
      const all = await Promise.all(pools.map((pool) => emptying.look(tenant, pool)));
      for (const { pool, isEmpty } of all) {
        if (!isEmpty) continue;
        log.info("tenant moved", { tenant, from: pool });
        formerPools.drop(tenant, pool);
        emptying.forget(tenant, pool);
        configuration.touch();
      }
      const rest = all.filter(({ isEmpty }) => !isEmpty);
      if (rest.length === 0) {
        memory.delete(tenant);
        return undefined;
      }
      const since = before?.since ?? now;
      const byAge = Math.min(Math.max((now - since) * looks.shareOfAge, looks.shortestMs), looks.longestMs);
      const againMs = Math.max(byAge, formerPools.size() * shardsOf(rest) * questionMs);
      const shown = rest.map((look) => ({
        ...look,
        stored: paced(before?.told.get(look.pool), look.stored),
      }));
      const message = shown.map((look) => leftIn(look, "")).join("; ");
      const told = new Map(shown.map(({ pool, stored }) => [pool, stored]));
      memory.set(tenant, { since, dueAt: now + againMs, message, told });
      return { message, againMs };
    },
    forget: (tenant) => void memory.delete(tenant),
  };
}

/** A number that is not worth a status of its own stays as it was told, and so does one that nobody can be asked for now. */
function paced(before: number | undefined, after: number | undefined): number | undefined {
  return after !== undefined && hasChanged(before, after) ? after : before;
}
