/**
 * What keeps a deleted tenant: mail of its own that is still queued, in its pool and in those that it has left. Drain waits for it,
 * Discard drops it, and so does the end of the drain's time; a pool that cannot send any more, a namespace that ends and skip-drain let
 * it go at once or soon.
 */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { parseDuration } from "#crds/values/duration.ts";
import { letsIn } from "#operator/compile/allowed.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context } from "./context.ts";
import { type Emptying, leftIn, type Look } from "./emptying.ts";
import { marks } from "./kinds.ts";
import { looks, paceMs, shardsOf, worthTelling } from "./pace.ts";
import { fieldOf } from "./pods.ts";
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

/** A namespace that ends, or a pool that is gone, waits no longer (decisions.md 17). */
const shortMs = 60_000;
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

/** What a wait rests on: the pools that are asked, and until when at most nothing changes by time alone. */
interface Found {
  readonly policy: string;
  readonly pools: readonly string[];
  readonly ageMs?: number;
  readonly withinMs: number;
  readonly told?: ReadonlyMap<string, number>;
}

export function createDrain(context: Context, emptying: Emptying): Drain {
  const { clock, configuration, formerPools, stores, log } = context;

  const memory = new Map<string, Memory>();
  /** By tenant: since when only pools that cannot be asked keep it. Not since its deletion: a new leader knows none of them at first. */
  const unknownSince = new Map<string, number>();

  const wait = (reason: Deletion["reason"], message: string): DrainStep => ({
    kind: "wait",
    deletion: { reason, message },
    againMs: looks.shortestMs,
  });
  const again = ({ deletion, dueAt }: Memory): DrainStep => {
    // No question then, but its namespace may end meanwhile.
    return { kind: "wait", deletion, againMs: Math.min(dueAt - clock.monotonic(), looks.longestMs) };
  };
  /** As `wait`, and the more rarely the longer it takes and the more tenants drain. */
  const waitPaced = (key: string, deletion: Deletion, found: Found): DrainStep => {
    const { policy, pools, told = new Map<string, number>(), withinMs } = found;
    const now = clock.monotonic();
    const before = memory.get(key);
    const since = before?.policy === policy ? before.since : now;
    const tenants = memory.size + (before === undefined ? 1 : 0);
    const { ageMs = now - since } = found;
    const ms = paceMs({ ageMs, tenants, shards: shardsOf(configuration, pools) });
    const next = { policy, since, dueAt: now + Math.min(ms, withinMs), deletion, told };
    memory.set(key, next);
    return again(next);
  };

  /** Pools that nobody knew of, and that store mail of it all the same: from before, or put there by hand; and those that cannot be asked now. */
  const lookElsewhere = async (tenant: KubeObject, known: readonly string[]) => {
    const key = keyOf(tenant);
    const others = [...stores.values("pools")].filter((pool) => !known.includes(keyOf(pool)));
    const asked = await Promise.all(
      others.map(async (pool) => ({ pool, stored: await context.streams.known(keyOf(pool))?.stored(key) })),
    );
    const holders = asked.filter(({ stored = 0 }) => stored > 0);
    const unknown = asked.filter(
      ({ pool, stored }) => stored === undefined && mayHold(context, pool, tenant),
    );
    return {
      holders: holders.map(({ pool }) => keyOf(pool)),
      unknown: unknown.map(({ pool }) => keyOf(pool)),
    };
  };

  return {
    async step(tenant) {
      const key = keyOf(tenant);
      const { annotations, deletionTimestamp = "" } = tenant.metadata;
      const sinceMs = clock.now() - Date.parse(deletionTimestamp);
      if (annotations?.[marks.skipDrain] === "true") return over("skip-drain");
      const isShort = sinceMs >= shortMs;
      if (isShort && isEnding(context, tenant)) return over("its namespace ends");
      // A leader that has only begun: what it does not know yet is not gone.
      if (!configuration.isKnown()) return wait("Draining", "what is in force is not known yet");
      const own = ownPool(context, tenant);
      const isThere = (pool: string): boolean =>
        stores.get("pools", pool) !== undefined && !isLeaving(context, pool);
      const named = [own, ...formerPools.of(key)];
      const pools = named.filter(isThere);
      if (pools.length === 0 && isShort) return over("nothing can send its mail any more");
      const { isDiscard, timeoutMs } = policyOf(tenant);
      const isLate = sinceMs >= timeoutMs;
      const policy = `${isDiscard} ${isLate}`;
      const before = memory.get(key);
      const isSame = before?.policy === policy;
      if (isSame && before.dueAt - clock.monotonic() > looks.shortestMs) return again(before);
      const found = { policy, withinMs: isLate ? Number.POSITIVE_INFINITY : timeoutMs - sinceMs };
      const all = await Promise.all(pools.map((pool) => emptying.look(key, pool)));
      // A pool that cannot be closed (paused, not compiled, a pod that refuses its configuration), or asked, keeps nobody for ever.
      const isHopeless = ({ pool, isBare }: Look): boolean => isBare || isUnreadable(context, pool);
      const rest = all.filter((look) => !look.isEmpty && !(isLate && isHopeless(look)));
      if (rest.length === 0) {
        if (pools.length < named.length && !isShort) return wait("Draining", "its pool is not there");
        const { holders, unknown } = await lookElsewhere(tenant, named);
        const mayBe = unknown.filter((pool) => !isShort || !isLeaving(context, pool));
        const now = clock.monotonic();
        const since = unknownSince.get(key) ?? now;
        const leftMs = since + elsewhereMs - now;
        if (holders.length === 0 && mayBe.length > 0 && !isLate && leftMs > 0) {
          unknownSince.set(key, since);
          const message = `NATS cannot be asked what is queued in the pool ${mayBe.join(", ")}`;
          const asked = [...stores.values("pools")].map(keyOf);
          const until = { withinMs: Math.min(found.withinMs, leftMs), ageMs: now - since };
          return waitPaced(key, { reason: "Draining", message }, { ...found, ...until, pools: asked });
        }
        if (holders.length === 0) return over("its queue is empty");
        unknownSince.delete(key);
        for (const pool of holders) formerPools.add(key, pool);
        configuration.touch();
        return wait("Draining", `there is mail of it in the pool ${holders.join(", ")}`);
      }
      unknownSince.delete(key);
      const shown = rest.map((look) => ({ ...look, ...worthOf(before, look) }));
      const message = shown.map((look) => leftIn(look, own)).join("; ");
      const told = new Map(
        shown.flatMap(({ pool, stored }) => (stored === undefined ? [] : [[pool, stored]])),
      );
      // What seems to be empty is about to go.
      const isLast = rest.every(({ stored }) => stored === 0);
      const paced = { ...found, pools, told, ...(isLast ? { ageMs: 0 } : {}) };
      if (!isDiscard && !isLate) return waitPaced(key, { reason: "Draining", message }, paced);
      const due = rest.filter(({ stored = 0, isClosed }) => stored > 0 && (isClosed || isLate));
      await Promise.all(due.map(({ pool }) => emptying.discard(key, pool)));
      const isKnown = rest.some(({ stored }) => stored !== undefined);
      const dropping = isDiscard ? "Discarding" : "DrainTimedOut";
      return waitPaced(key, { reason: isKnown ? dropping : "Draining", message }, paced);

      function over(why: string): DrainStep {
        // Should taking off its finalizer fail, it is over still: how long it has waited for others stays.
        memory.delete(key);
        log.info("tenant released", { tenant: key, why });
        return { kind: "over" };
      }
    },
    forget(tenant) {
      memory.delete(tenant);
      unknownSince.delete(tenant);
    },
  };
}

/** As it was told, where it is another by less than a tenth. */
function worthOf(before: Memory | undefined, { pool, stored }: Look): Pick<Look, "stored"> {
  return { stored: stored === undefined ? undefined : worthTelling(before?.told.get(pool), stored) };
}

/** The pool that it is in, or was when that could be compiled; else the one that it names. */
function ownPool({ formerPools }: Context, tenant: KubeObject): string {
  const ref = fieldOf(tenant["spec"], "poolRef");
  const namespace = fieldOf(ref, "namespace") ?? tenant.metadata.namespace;
  return formerPools.homes.get(keyOf(tenant)) ?? `${String(namespace)}/${String(fieldOf(ref, "name"))}`;
}

/** It goes, and no leader that met it so has followed it. */
function isLeaving({ stores, streams }: Context, pool: string): boolean {
  const isDeleted = stores.get("pools", pool)?.metadata.deletionTimestamp !== undefined;
  return isDeleted && streams.known(pool) === undefined;
}

/** This release's schema does not take it, and did not since this leader began: it is never followed. */
function isUnreadable({ configuration, streams }: Context, pool: string): boolean {
  const wasSeen = configuration.verdict("SendingPool", pool) !== undefined;
  return wasSeen && configuration.poolSpec(pool) === undefined && streams.known(pool) === undefined;
}

/** As the compiler says: a pool of others that cannot be asked holds up nobody. Of one that this release cannot read, what its spec says. */
function mayHold({ configuration, stores }: Context, pool: KubeObject, tenant: KubeObject): boolean {
  const { namespace = "" } = tenant.metadata;
  const raw = fieldOf(pool["spec"], "allowedTenants") as SendingPoolSpec["allowedTenants"];
  const spec = configuration.poolSpec(keyOf(pool))?.spec;
  const allowed = spec === undefined ? raw : spec.allowedTenants;
  const known = stores.isClusterWide ? stores.get("namespaces", namespace) : undefined;
  const labels = known === undefined ? undefined : (known.metadata.labels ?? {});
  return letsIn({ namespace: pool.metadata.namespace ?? "", allowed }, namespace, labels);
}

function isEnding({ stores }: Context, { metadata }: KubeObject): boolean {
  const namespace = stores.get("namespaces", metadata.namespace ?? "");
  return namespace?.metadata.deletionTimestamp !== undefined;
}

function policyOf({ spec }: KubeObject): { isDiscard: boolean; timeoutMs: number } {
  const timeout = fieldOf(spec, "drainTimeout");
  const text = typeof timeout === "string" ? timeout : compiledDefaults.tenantDrainTimeout;
  return { isDiscard: fieldOf(spec, "deletionPolicy") === "Discard", timeoutMs: parseDuration(text) ?? 0 };
}
