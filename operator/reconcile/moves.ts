/**
 * Tenants that have been moved to another pool: what they left behind goes on being sent where it is, and here is looked at until it is
 * gone, the more rarely the longer it takes and the more of them there are. Asks NATS, never rejects.
 */
import type { Context } from "./context.ts";
import { type Emptying, leftIn } from "./emptying.ts";
import { paceMs, shardsOf, worthTelling } from "./pace.ts";

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
      const shards = shardsOf(
        configuration,
        rest.map(({ pool }) => pool),
      );
      const againMs = paceMs({ ageMs: now - since, tenants: formerPools.size(), shards });
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

/** One that nobody can be asked for now stays, too. */
function paced(before: number | undefined, after: number | undefined): number | undefined {
  return after === undefined ? before : worthTelling(before, after);
}
