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
const lookMs = 2000;

export function createDrain(context: Context, emptying: Emptying): Drain {
  const { clock, configuration, formerPools, stores, log } = context;

  /** By tenant: since when only pools that cannot be asked keep it. Not since its deletion: a new leader knows none of them at first. */
  const unknownSince = new Map<string, number>();
  const isPatient = (key: string): boolean => {
    const since = unknownSince.get(key) ?? clock.monotonic();
    unknownSince.set(key, since);
    return clock.monotonic() - since < elsewhereMs;
  };

  const wait = (reason: Deletion["reason"], message: string): DrainStep => ({
    kind: "wait",
    deletion: { reason, message },
    againMs: lookMs,
  });

  /** Pools that nobody knew of, and that store mail of it all the same: from before, or put there by hand; and those that cannot be asked now. */
  const lookElsewhere = async (tenant: KubeObject, known: readonly string[]) => {
    const key = keyOf(tenant);
    const others = [...stores.values("pools")].filter((pool) => !known.includes(keyOf(pool)));
    const looks = await Promise.all(
      others.map(async (pool) => ({ pool, stored: await context.streams.known(keyOf(pool))?.stored(key) })),
    );
    const found = looks.filter(({ stored = 0 }) => stored > 0);
    const unknown = looks.filter(
      ({ pool, stored }) => stored === undefined && mayHold(context, pool, tenant),
    );
    return { found: found.map(({ pool }) => keyOf(pool)), unknown: unknown.map(({ pool }) => keyOf(pool)) };
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
      const looks = await Promise.all(pools.map((pool) => emptying.look(key, pool)));
      const { isDiscard, timeoutMs } = policyOf(tenant);
      const isLate = sinceMs >= timeoutMs;
      // A pool that cannot be closed (paused, not compiled, a pod that refuses its configuration), or asked, keeps nobody for ever.
      const isHopeless = ({ pool, isBare }: Look): boolean => isBare || isUnreadable(context, pool);
      const rest = looks.filter((look) => !look.isEmpty && !(isLate && isHopeless(look)));
      if (rest.length === 0) {
        if (pools.length < named.length && !isShort) return wait("Draining", "its pool is not there");
        const { found, unknown } = await lookElsewhere(tenant, named);
        const mayBe = unknown.filter((pool) => !isShort || !isLeaving(context, pool));
        if (found.length === 0 && mayBe.length > 0 && !isLate && isPatient(key))
          return wait("Draining", `NATS cannot be asked what is queued in the pool ${mayBe.join(", ")}`);
        unknownSince.delete(key);
        if (found.length === 0) return over("its queue is empty");
        for (const pool of found) formerPools.add(key, pool);
        configuration.touch();
        return wait("Draining", `there is mail of it in the pool ${found.join(", ")}`);
      }
      unknownSince.delete(key);
      const message = rest.map((look) => leftIn(look, own)).join("; ");
      if (!isDiscard && !isLate) return wait("Draining", message);
      const due = rest.filter(({ stored = 0, isClosed }) => stored > 0 && (isClosed || isLate));
      await Promise.all(due.map(({ pool }) => emptying.discard(key, pool)));
      const isKnown = rest.some(({ stored }) => stored !== undefined);
      if (!isKnown) return wait("Draining", message);
      return wait(isDiscard ? "Discarding" : "DrainTimedOut", message);

      function over(why: string): DrainStep {
        log.info("tenant released", { tenant: key, why });
        return { kind: "over" };
      }
    },
    forget: (tenant) => void unknownSince.delete(tenant),
  };
}

/** The pool where it is compiled, else the one that it names. */
function ownPool({ configuration }: Context, tenant: KubeObject): string {
  const ref = fieldOf(tenant["spec"], "poolRef");
  const namespace = fieldOf(ref, "namespace") ?? tenant.metadata.namespace;
  return configuration.tenant(keyOf(tenant))?.pool ?? `${String(namespace)}/${String(fieldOf(ref, "name"))}`;
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
