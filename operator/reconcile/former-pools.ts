/**
 * Pools that tenants have left by an edit of `poolRef`: they are compiled there as they drain until nothing of theirs is stored there
 * any more. In memory; a new leader finds the same in what was written (inheritance.ts). Never fails.
 */
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf, type TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { drained } from "#operator/gather/drained.ts";

export interface FormerPools {
  /** The pool that the tenant is in, by tenant. */
  readonly homes: ReadonlyMap<string, string>;
  /** Where something of the tenant may be stored still, beside the pool that it is in; sorted. */
  of(tenant: string): readonly string[];
  /** How many tenants have left something. */
  size(): number;
  add(tenant: string, pool: string): void;
  /** The pool that the tenant is in now; another than before has been left. */
  note(tenant: string, pool: string): void;
  /** Nothing of the tenant is there any more. */
  drop(tenant: string, pool: string): void;
  /** The tenant is gone. */
  forget(tenant: string): void;
  /**
   * Those of `tenants` that drain elsewhere, there, and in the pool that they leave if the one that they name takes them. The very same
   * objects as before, of the very same.
   */
  leavers(tenants: readonly Resource<TenantSpec>[]): Resource<TenantSpec>[];
}

const none: readonly string[] = [];

/** `now` in ms since 1970. */
export function createFormerPools(now: () => number): FormerPools {
  const homes = new Map<string, string>();
  const left = new Map<string, readonly string[]>();
  const made = new WeakMap<Resource<TenantSpec>, Map<string, Resource<TenantSpec>>>();

  const of = (tenant: string): readonly string[] => left.get(tenant) ?? none;
  const add = (tenant: string, pool: string): void => {
    if (pool !== homes.get(tenant)) left.set(tenant, [...new Set([...of(tenant), pool])].sort());
  };
  const drop = (tenant: string, pool: string): void => {
    const rest = of(tenant).filter((one) => one !== pool);
    if (rest.length === 0) left.delete(tenant);
    else left.set(tenant, rest);
  };

  const note = (tenant: string, pool: string): void => {
    const before = homes.get(tenant);
    if (before === pool) return;
    homes.set(tenant, pool);
    if (before !== undefined) add(tenant, before);
    drop(tenant, pool);
  };

  const leaver = (tenant: Resource<TenantSpec>, pool: string): Resource<TenantSpec> => {
    const known = made.get(tenant) ?? new Map<string, Resource<TenantSpec>>();
    made.set(tenant, known);
    const one = known.get(pool) ?? inPool(tenant, pool, now());
    known.set(pool, one);
    return one;
  };

  return {
    homes,
    of,
    size: () => left.size,
    add,
    note,
    drop,
    forget(tenant) {
      homes.delete(tenant);
      left.delete(tenant);
    },
    leavers: (tenants) =>
      tenants.flatMap((tenant) => {
        const id = identityOf(tenant.metadata);
        const home = homes.get(id);
        const pools = home === undefined ? of(id) : [home, ...of(id)];
        return pools.filter((pool) => pool !== poolOf(tenant)).map((pool) => leaver(tenant, pool));
      }),
  };
}

/** As it is there: nobody logs in, what is queued goes. */
function inPool(tenant: Resource<TenantSpec>, pool: string, now: number): Resource<TenantSpec> {
  const [namespace = "", name = ""] = pool.split("/");
  const going = drained(tenant, new Date(now).toISOString());
  return { ...going, spec: { ...going.spec, poolRef: { namespace, name } } };
}
