/** What is known of a deleted tenant without asking anybody: where it may have mail, what its policy is, and which of its times are over. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { parseDuration } from "#crds/values/duration.ts";
import { letsIn } from "#operator/compile/allowed.ts";
import type { KubeObject } from "#operator/kube/types.ts";
import type { Context } from "./context.ts";
import { marks } from "./kinds.ts";
import { fieldOf } from "./pods.ts";
import { keyOf } from "./stores.ts";

export interface DeletedTenant {
  readonly key: string;
  readonly tenant: KubeObject;
  /** Why nothing has to be waited for, whatever it has queued. */
  readonly release: string | undefined;
  /** The pool that it is in. */
  readonly own: string;
  /** That and those that it has left. */
  readonly named: readonly string[];
  /** Of those, the ones that are there. */
  readonly pools: readonly string[];
  /** The time is over in which a namespace that ends, or a pool that is gone, is waited for (decisions.md 17). */
  readonly isShort: boolean;
  /** `drainTimeout` is over. */
  readonly isLate: boolean;
  /** Until then. */
  readonly leftMs: number;
  readonly isDiscard: boolean;
}

const shortMs = 60_000;

export function deletedTenant(context: Context, tenant: KubeObject): DeletedTenant {
  const { clock, formerPools, stores } = context;
  const { annotations, deletionTimestamp = "" } = tenant.metadata;
  const key = keyOf(tenant);
  const sinceMs = clock.now() - Date.parse(deletionTimestamp);
  const isShort = sinceMs >= shortMs;
  const own = ownPool(context, tenant);
  const named = [own, ...formerPools.of(key)];
  const pools = named.filter((pool) => stores.get("pools", pool) !== undefined && !isLeaving(context, pool));
  const isSkipped = annotations?.[marks.skipDrain] === "true";
  const isEnded = isShort && isEnding(context, tenant);
  const { isDiscard, timeoutMs } = policyOf(tenant);
  return {
    key,
    tenant,
    release: isSkipped ? "skip-drain" : isEnded ? "its namespace ends" : undefined,
    own,
    named,
    pools,
    isShort,
    isLate: sinceMs >= timeoutMs,
    leftMs: timeoutMs - sinceMs,
    isDiscard,
  };
}

/** The pool that it is in, or was when that could be compiled; else the one that it names. */
function ownPool({ formerPools }: Context, tenant: KubeObject): string {
  const ref = fieldOf(tenant["spec"], "poolRef");
  const namespace = fieldOf(ref, "namespace") ?? tenant.metadata.namespace;
  return formerPools.homes.get(keyOf(tenant)) ?? `${String(namespace)}/${String(fieldOf(ref, "name"))}`;
}

/** It goes, and no leader that met it so has followed it. */
export function isLeaving({ stores, streams }: Context, pool: string): boolean {
  const isDeleted = stores.get("pools", pool)?.metadata.deletionTimestamp !== undefined;
  return isDeleted && streams.known(pool) === undefined;
}

/** This release's schema does not take it, and did not since this leader began: it is never followed. */
export function isUnreadable({ configuration, streams }: Context, pool: string): boolean {
  const wasSeen = configuration.verdict("SendingPool", pool) !== undefined;
  return wasSeen && configuration.poolSpec(pool) === undefined && streams.known(pool) === undefined;
}

/** As the compiler says: a pool of others that cannot be asked holds up nobody. Of one that this release cannot read, what its spec says. */
export function mayHold({ configuration, stores }: Context, pool: KubeObject, tenant: KubeObject): boolean {
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
