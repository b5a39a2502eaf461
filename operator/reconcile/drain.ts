/**
 * What keeps a deleted tenant: mail of its own that is still queued, in its pool and in those that it has left. Drain waits for it,
 * Discard drops it, and so does the end of the drain's time; a pool that cannot send any more, a namespace that ends and skip-drain let
 * it go at once or soon.
 */
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context } from "./context.ts";
import { type DeletedTenant, deletedTenant, isLeaving, isUnreadable, mayHold } from "./deletion.ts";
import { type Emptying, leftIn, type Look } from "./emptying.ts";
import { looks, paceMs, shardsOf, worthTelling } from "./pace.ts";
import { keyOf } from "./stores.ts";
import type { Deletion } from "./tenant-status.ts";

type DrainStep =
  | { readonly kind: "over" }
  | { readonly kind: "wait"; readonly deletion: Deletion; readonly againMs: number };

export interface Drain {
  /** One look at where it stands; asks NATS, never rejects. */
  step(tenant: KubeObject): Promise<DrainStep>;
  forget(tenant: string): void;
}

/** A pool that nobody knows to hold mail of the tenant, and that cannot be asked, waits no longer. */
const elsewhereMs = 600_000;

interface Memory {
  /** Whether it is drained or dropped: with another policy all begins anew. */
  readonly policy: string;
  readonly since: number;
  readonly dueAt: number;
  readonly deletion: Deletion;
  /** Messages told of each pool. */
  readonly told: ReadonlyMap<string, number>;
}

/** What a wait rests on. */
interface Found {
  /** Those that are asked; all of its own unless set. */
  readonly pools?: readonly string[];
  /** For how long it has been like that; since it was looked at first unless set. */
  readonly ageMs?: number;
  /** Until when at most nothing changes by time alone. */
  readonly withinMs?: number;
  readonly told?: ReadonlyMap<string, number>;
}

export function createDrain(context: Context, emptying: Emptying): Drain {
  const { clock, configuration, formerPools, stores, log } = context;

  const memory = new Map<string, Memory>();
  /** By tenant: since when only pools that cannot be asked keep it. Not since its deletion: a new leader knows none of them at first. */
  const unknownSince = new Map<string, number>();

  const over = ({ key }: DeletedTenant, why: string): DrainStep => {
    // Should taking off its finalizer fail, it is over still: how long it has waited for others stays.
    memory.delete(key);
    log.info("tenant released", { tenant: key, why });
    return { kind: "over" };
  };
  const wait = (message: string): DrainStep => ({
    kind: "wait",
    deletion: { reason: "Draining", message },
    againMs: looks.shortestMs,
  });
  const again = ({ deletion, dueAt }: Memory): DrainStep => {
    // No question then, but its namespace may end meanwhile.
    return { kind: "wait", deletion, againMs: Math.min(dueAt - clock.monotonic(), looks.longestMs) };
  };
  /** As `wait`, and the more rarely the longer it takes and the more tenants drain. */
  const waitPaced = (one: DeletedTenant, deletion: Deletion, found: Found): DrainStep => {
    const { pools = one.pools, told = new Map<string, number>() } = found;
    const now = clock.monotonic();
    const policy = policyOf(one);
    const before = memory.get(one.key);
    const since = before?.policy === policy ? before.since : now;
    const tenants = memory.size + (before === undefined ? 1 : 0);
    const { ageMs = now - since } = found;
    const ms = paceMs({ ageMs, tenants, shards: shardsOf(configuration, pools) });
    const lateMs = one.isLate ? Number.POSITIVE_INFINITY : one.leftMs;
    const dueAt = now + Math.min(ms, lateMs, found.withinMs ?? Number.POSITIVE_INFINITY);
    const next = { policy, since, dueAt, deletion, told };
    memory.set(one.key, next);
    return again(next);
  };

  /** Pools of its own in which something is left, or may be. */
  const lookAt = async ({ key, pools, isLate }: DeletedTenant): Promise<Look[]> => {
    const all = await Promise.all(pools.map((pool) => emptying.look(key, pool)));
    // A pool that cannot be closed (paused, not compiled, a pod that refuses its configuration), or asked, keeps nobody for ever.
    const isHopeless = ({ pool, isBare }: Look): boolean => isBare || isUnreadable(context, pool);
    return all.filter((look) => !look.isEmpty && !(isLate && isHopeless(look)));
  };

  /** Pools that nobody knew of, and that store mail of it all the same: from before, or put there by hand; and those that cannot be asked now. */
  const lookElsewhere = async ({ key, tenant, named, isShort }: DeletedTenant) => {
    const others = [...stores.values("pools")].filter((pool) => !named.includes(keyOf(pool)));
    const asked = await Promise.all(
      others.map(async (pool) => ({ pool, stored: await context.streams.known(keyOf(pool))?.stored(key) })),
    );
    const holders = asked.filter(({ stored = 0 }) => stored > 0);
    const unknown = asked.filter(
      ({ pool, stored }) =>
        stored === undefined &&
        mayHold(context, pool, tenant) &&
        !(isShort && isLeaving(context, keyOf(pool))),
    );
    return {
      holders: holders.map(({ pool }) => keyOf(pool)),
      unknown: unknown.map(({ pool }) => keyOf(pool)),
    };
  };

  /** Its own pools have nothing of it. */
  const whenEmpty = async (one: DeletedTenant): Promise<DrainStep> => {
    const { key } = one;
    if (one.pools.length < one.named.length && !one.isShort) return wait("its pool is not there");
    const { holders, unknown } = await lookElsewhere(one);
    if (holders.length > 0) {
      unknownSince.delete(key);
      for (const pool of holders) formerPools.add(key, pool);
      configuration.touch();
      return wait(`there is mail of it in the pool ${holders.join(", ")}`);
    }
    const now = clock.monotonic();
    const since = unknownSince.get(key) ?? now;
    const withinMs = since + elsewhereMs - now;
    if (unknown.length === 0 || one.isLate || withinMs <= 0) return over(one, "its queue is empty");
    unknownSince.set(key, since);
    const message = `NATS cannot be asked what is queued in the pool ${unknown.join(", ")}`;
    const pools = [...stores.values("pools")].map(keyOf);
    return waitPaced(one, { reason: "Draining", message }, { pools, ageMs: now - since, withinMs });
  };

  /** Something is left: it is waited for, or dropped. */
  const whenLeft = async (one: DeletedTenant, left: readonly Look[]): Promise<DrainStep> => {
    const { key, own, isDiscard, isLate } = one;
    unknownSince.delete(key);
    const before = memory.get(key);
    const shown = left.map((look) => ({ ...look, ...worthOf(before, look) }));
    const message = shown.map((look) => leftIn(look, own)).join("; ");
    const told = new Map(shown.flatMap(({ pool, stored }) => (stored === undefined ? [] : [[pool, stored]])));
    // What seems to be empty is about to go.
    const isLast = left.every(({ stored }) => stored === 0);
    const found = { told, ...(isLast ? { ageMs: 0 } : {}) };
    if (!isDiscard && !isLate) return waitPaced(one, { reason: "Draining", message }, found);
    const due = left.filter(({ stored = 0, isClosed }) => stored > 0 && (isClosed || isLate));
    await Promise.all(due.map(({ pool }) => emptying.discard(key, pool)));
    const isKnown = left.some(({ stored }) => stored !== undefined);
    const dropping = isDiscard ? "Discarding" : "DrainTimedOut";
    return waitPaced(one, { reason: isKnown ? dropping : "Draining", message }, found);
  };

  return {
    async step(tenant) {
      const one = deletedTenant(context, tenant);
      if (one.release !== undefined) return over(one, one.release);
      // A leader that has only begun: what it does not know yet is not gone.
      if (!configuration.isKnown()) return wait("what is in force is not known yet");
      if (one.pools.length === 0 && one.isShort) return over(one, "nothing can send its mail any more");
      const before = memory.get(one.key);
      const isSame = before?.policy === policyOf(one);
      if (isSame && before.dueAt - clock.monotonic() > looks.shortestMs) return again(before);
      const left = await lookAt(one);
      return left.length === 0 ? whenEmpty(one) : whenLeft(one, left);
    },
    forget(tenant) {
      memory.delete(tenant);
      unknownSince.delete(tenant);
    },
  };
}

/** With another one all begins anew. */
function policyOf({ isDiscard, isLate }: DeletedTenant): string {
  return `${isDiscard} ${isLate}`;
}

/** As it was told, where it is another by less than a tenth. */
function worthOf(before: Memory | undefined, { pool, stored }: Look): Pick<Look, "stored"> {
  return { stored: stored === undefined ? undefined : worthTelling(before?.told.get(pool), stored) };
}
