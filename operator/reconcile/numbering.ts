/** Generations: of a pool's configuration, and since which of them a tenant has been what it is. Pure. */
import { keysDigestOf } from "#crds/pod-config/keys-digest.ts";
import type { CompiledPool } from "#operator/compile/compile.ts";
import { isGoing } from "#operator/compile/tenants.ts";

/** A pool's configuration in force. */
export interface PoolConfig {
  readonly compiled: CompiledPool;
  readonly generation: number;
  readonly digest: string;
  /** Of logins and keys, which the digest does not cover. */
  readonly keysDigest: string;
  /** When it was first compiled here, by the monotonic clock. */
  readonly at: number;
}

export type Numbered = Pick<PoolConfig, "generation" | "digest" | "keysDigest">;

export interface TenantPlace {
  readonly pool: string;
  /** Whichever pod runs this generation of its pool, or a later one, runs the tenant as it is now. */
  readonly since: number;
  /** As compiled: compared by identity. */
  readonly compiled: object;
  /** As compiled, it takes no new mail there. */
  readonly isGoing: boolean;
}

/** The next generation when anything changed since `before`, else the same. */
export function numbered(
  compiled: CompiledPool,
  before: (Numbered & { readonly at?: number }) | undefined,
  now: number,
): PoolConfig {
  const { digest } = compiled.manifest;
  const slots = [...compiled.keySlots.values()];
  const keysDigest = keysDigestOf(
    slots.flatMap(({ credentials }) => credentials),
    slots.flatMap(({ dkim }) => dkim),
    slots.find(({ proxyLogin }) => proxyLogin !== undefined)?.proxyLogin,
  );
  const isSame = before?.digest === digest && before.keysDigest === keysDigest;
  const generation = isSame ? before.generation : (before?.generation ?? 0) + 1;
  const at = isSame ? (before.at ?? now) : now;
  return { compiled: withGeneration(compiled, generation), generation, digest, keysDigest, at };
}

function withGeneration(compiled: CompiledPool, generation: number): CompiledPool {
  return { ...compiled, manifest: { ...compiled.manifest, generation } };
}

/** As an annotation of the ConfigMaps that are written for it, where the next leader finds it. */
export function textOf({ generation, digest, keysDigest }: Numbered): string {
  return `${generation}.${digest}.${keysDigest}`;
}

export function numberedIn(text: string | undefined): Numbered | undefined {
  const [, generation, digest = "", keysDigest = ""] =
    /^([1-9][0-9]{0,14})\.([0-9a-f]{64})\.([0-9a-f]*)$/.exec(text ?? "") ?? [];
  return generation === undefined ? undefined : { generation: Number(generation), digest, keysDigest };
}

export interface Placed {
  readonly places: Map<string, TenantPlace>;
  /** Tenants whose place is another than before, or that have none any more. */
  readonly changed: readonly string[];
}

/**
 * By tenant, of which each is in one pool; those that drain, which may be in several, by `placeKey`. The order of `pools` decides
 * nothing.
 */
export function placeTenants(
  part: "tenants" | "draining",
  before: ReadonlyMap<string, TenantPlace>,
  pools: ReadonlyMap<string, { readonly config: PoolConfig; readonly isNew: boolean }>,
): Placed {
  const places = new Map<string, TenantPlace>();
  const changed: string[] = [];
  for (const [pool, { config, isNew }] of pools)
    for (const [id, compiled] of config.compiled[part]) {
      const tenant = part === "tenants" ? id : placeKey(id, pool);
      const earlier = before.get(tenant);
      const isSame = earlier?.pool === pool && (earlier.compiled === compiled || !isNew);
      const since = isSame ? earlier.since : config.generation;
      places.set(tenant, { pool, since, compiled, isGoing: isGoing(compiled.tenant) });
      if (!isSame) changed.push(tenant);
    }
  for (const tenant of before.keys()) if (!places.has(tenant)) changed.push(tenant);
  return { places, changed };
}

export function placeKey(tenant: string, pool: string): string {
  return `${tenant} in ${pool}`;
}
