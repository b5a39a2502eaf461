/**
 * What dashboards and alerts ask about pools that no pod can say: how many pods are wanted, allowed, ready, programmed; how many shards
 * there are to own; and how long tenants have been draining. Reads the stores while a scrape runs; never fails: what an object lacks is not shown.
 */
import { Gauge, type GaugeConfiguration, type Registry } from "prom-client";
import type { KubeObject } from "#operator/kube/types.ts";

export interface PoolMetricsSources {
  pools(): Iterable<KubeObject>;
  tenants(): Iterable<KubeObject>;
  /** Live Deployment of a pool ("namespace/name"). */
  deployment(pool: string): KubeObject | undefined;
  /** The pool that a tenant is in, where it was in one. */
  homeOf(tenant: string): string | undefined;
  /** ms since 1970. */
  now(): number;
}

/** Series: seven for each pool, however many tenants there are. */
export function declarePoolMetrics(registry: Registry, sources: PoolMetricsSources): void {
  const gauge = <Label extends string>(settings: GaugeConfiguration<Label>): Gauge<Label> =>
    new Gauge({ ...settings, registers: [registry] });
  gauge({
    name: "mailboat_pool_replicas",
    help: "Pods of a pool: desired, ready, programmed (they run the newest configuration), and max, the autoscaler's bound.",
    labelNames: ["namespace", "pool", "state"] as const,
    collect() {
      this.reset();
      for (const object of sources.pools()) {
        const { namespace = "", name: pool } = object.metadata;
        for (const [state, count] of Object.entries(replicasOf(object, sources)))
          if (typeof count === "number") this.set({ namespace, pool, state }, count);
      }
    },
  });
  gauge({
    name: "mailboat_pool_shards",
    help: "Shards of a pool's queue, each of which some pod should own.",
    labelNames: ["namespace", "pool"] as const,
    collect() {
      this.reset();
      for (const object of sources.pools()) {
        const { namespace = "", name: pool } = object.metadata;
        const shards = field(object, "spec", "queue", "shards");
        if (typeof shards === "number") this.set({ namespace, pool }, shards);
      }
    },
  });
  gauge({
    name: "mailboat_tenant_drain_oldest_seconds",
    help: "How long the tenant of a pool that has been draining for the longest has been doing so; 0 = none is.",
    labelNames: ["namespace", "pool"] as const,
    collect() {
      this.reset();
      const oldest = oldestDeletions(sources);
      for (const { metadata } of sources.pools()) {
        const { namespace = "", name: pool } = metadata;
        const since = oldest.get(`${namespace}/${pool}`);
        const seconds = since === undefined ? 0 : Math.max(0, (sources.now() - since) / 1000);
        this.set({ namespace, pool }, seconds);
      }
    },
  });
}

function replicasOf(pool: KubeObject, sources: PoolMetricsSources): Record<string, unknown> {
  const deployment = sources.deployment(`${pool.metadata.namespace ?? ""}/${pool.metadata.name}`);
  return {
    desired: field(deployment, "spec", "replicas") ?? field(pool, "spec", "replicas"),
    ready: field(pool, "status", "readyReplicas"),
    programmed: field(pool, "status", "programmedReplicas"),
    max: field(pool, "spec", "autoscaling", "maxReplicas"),
  };
}

/** By pool: when the first of its tenants that are still there was deleted. */
function oldestDeletions({ tenants, homeOf }: PoolMetricsSources): Map<string, number> {
  const oldest = new Map<string, number>();
  for (const tenant of tenants()) {
    const { deletionTimestamp, namespace = "", name } = tenant.metadata;
    if (deletionTimestamp === undefined) continue;
    const named = `${String(field(tenant, "spec", "poolRef", "namespace") ?? namespace)}/${String(field(tenant, "spec", "poolRef", "name"))}`;
    const key = homeOf(`${namespace}/${name}`) ?? named;
    const at = Date.parse(deletionTimestamp);
    oldest.set(key, Math.min(oldest.get(key) ?? at, at));
  }
  return oldest;
}

function field(object: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    object,
  );
}
