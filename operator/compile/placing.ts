/**
 * Which pool a tenant is in: the one that it names, or, while that one cannot take it, the one that it was in before, as with any last
 * good configuration. Pure.
 */
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf, type TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { letsIn } from "./allowed.ts";
import type { PoolBase } from "./pools.ts";
import { type Problem, refusal, unresolved } from "./problems.ts";

type Tenant = Resource<TenantSpec>;

export interface Placing {
  /** By pool; undefined: those in none. */
  readonly members: ReadonlyMap<string | undefined, readonly Tenant[]>;
  /** By pool: those that have left it. */
  readonly draining: ReadonlyMap<string, readonly Tenant[]>;
  /** What is wrong with the pool that they name, where they are not in it. */
  readonly refused: ReadonlyMap<Tenant, Problem>;
}

export function placed(snapshot: Snapshot, bases: ReadonlyMap<string, PoolBase>): Placing {
  const takes = (pool: string | undefined, tenant: Tenant): boolean => {
    const one = pool === undefined ? undefined : bases.get(pool);
    return one?.base !== undefined && isPermitted(tenant, one, snapshot);
  };
  const places = new Map<string, string | undefined>();
  const refused = new Map<Tenant, Problem>();
  for (const tenant of snapshot.tenants) {
    const id = identityOf(tenant.metadata);
    const named = poolOf(tenant);
    if (takes(named, tenant)) {
      places.set(id, named);
      continue;
    }
    const home = snapshot.homes?.get(id);
    const place = takes(home, tenant) ? home : undefined;
    places.set(id, place);
    const pool = bases.get(named);
    refused.set(
      tenant,
      problemOf(tenant, { pool, mayKnow: pool !== undefined && isPermitted(tenant, pool, snapshot), place }),
    );
  }
  const isLeaver = (tenant: Tenant): boolean =>
    takes(poolOf(tenant), tenant) && places.get(identityOf(tenant.metadata)) !== poolOf(tenant);
  return {
    members: Map.groupBy(snapshot.tenants, ({ metadata }) => places.get(identityOf(metadata))),
    draining: Map.groupBy((snapshot.draining?.tenants ?? []).filter(isLeaver), poolOf),
    refused,
  };
}

/** Only the pool's word counts: a tenant of another namespace could send in its name and read its secrets' effect. */
function isPermitted(
  { metadata }: Tenant,
  { pool }: PoolBase,
  { namespaces }: Pick<Snapshot, "namespaces">,
): boolean {
  const gate = { namespace: pool.metadata.namespace, allowed: pool.spec.allowedTenants };
  return letsIn(gate, metadata.namespace, namespaces?.get(metadata.namespace));
}

interface Finding {
  /** The one that it names. */
  readonly pool: PoolBase | undefined;
  readonly mayKnow: boolean;
  readonly place: string | undefined;
}

function problemOf(tenant: Tenant, { pool, mayKnow, place }: Finding): Problem {
  const id = poolOf(tenant);
  const { namespace } = tenant.metadata;
  const stays = place === undefined ? "" : `, so it stays in ${place}`;
  const isForeign = (tenant.spec.poolRef.namespace ?? namespace) !== namespace;
  // A pool of another namespace that is not there and one that is closed are not told apart: nobody may probe for names.
  if (isForeign && !mayKnow) {
    const expected = `a pool of the namespace ${namespace}, or one that lets its tenants in`;
    return refusal("RefNotPermitted", {
      where: "spec.poolRef.namespace",
      expected,
      got: `the pool ${id}${stays}`,
    });
  }
  const got = pool === undefined ? "no such SendingPool" : "one that could not be compiled";
  return unresolved("PoolNotFound", {
    where: "spec.poolRef",
    expected: `the SendingPool ${id}`,
    got: `${got}${stays}`,
  });
}
