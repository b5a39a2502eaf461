import assert from "node:assert/strict";
import { test } from "node:test";
import { Registry } from "prom-client";
import type { KubeObject } from "#operator/kube/types.ts";
import { declarePoolMetrics } from "#operator/reconcile/pool-metrics.ts";

const now = Date.parse("2026-11-24T12:00:00Z");

function object(kind: string, name: string, rest: object, metadata: object = {}): KubeObject {
  return {
    apiVersion: "mailboat.dev/v1alpha1",
    kind,
    metadata: { name, namespace: "mail", ...metadata },
    ...rest,
  };
}

async function linesOf(
  pools: KubeObject[],
  tenants: KubeObject[],
  deployment?: KubeObject,
): Promise<string[]> {
  const registry = new Registry();
  declarePoolMetrics(registry, {
    pools: () => pools,
    tenants: () => tenants,
    deployment: (pool) => (pool === "mail/shared" ? deployment : undefined),
    homeOf: (tenant) => (tenant === "mail/misspelt" ? "mail/calm" : undefined),
    now: () => now,
  });
  const text = await registry.metrics();
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

test("declarePoolMetrics(): wanted, allowed, ready and programmed pods of each pool", async () => {
  const scaled = object("SendingPool", "shared", {
    spec: { replicas: 2, autoscaling: { maxReplicas: 8 } },
    status: { readyReplicas: 4, programmedReplicas: 3 },
  });
  const fresh = object("SendingPool", "fresh", { spec: { replicas: 1 } });
  const lines = await linesOf([scaled, fresh], [], object("Deployment", "d", { spec: { replicas: 5 } }));
  assert.deepEqual(
    lines.filter((line) => line.startsWith("mailboat_pool_replicas")),
    [
      'mailboat_pool_replicas{namespace="mail",pool="shared",state="desired"} 5',
      'mailboat_pool_replicas{namespace="mail",pool="shared",state="ready"} 4',
      'mailboat_pool_replicas{namespace="mail",pool="shared",state="programmed"} 3',
      'mailboat_pool_replicas{namespace="mail",pool="shared",state="max"} 8',
      'mailboat_pool_replicas{namespace="mail",pool="fresh",state="desired"} 1',
    ],
  );
});

test("declarePoolMetrics(): the shards of each pool, as its spec has them", async () => {
  const lines = await linesOf(
    [
      object("SendingPool", "shared", { spec: { replicas: 0, queue: { shards: 16 } } }),
      object("SendingPool", "odd", { spec: {} }),
    ],
    [],
  );
  assert.deepEqual(
    lines.filter((line) => line.startsWith("mailboat_pool_shards")),
    ['mailboat_pool_shards{namespace="mail",pool="shared"} 16'],
  );
});

test("declarePoolMetrics(): the longest drain of a pool's tenants, also of other namespaces; however many, no more series", async () => {
  const gone = (hours: number): object => ({
    deletionTimestamp: new Date(now - hours * 3_600_000).toISOString(),
  });
  const of = (name: string, metadata: object, poolRef: object = { name: "shared" }): KubeObject =>
    object("Tenant", name, { spec: { poolRef } }, metadata);
  const many = Array.from({ length: 10_000 }, (_, index) => of(`t${index}`, index % 2 === 0 ? gone(1) : {}));
  const far = of("far", { ...gone(3), namespace: "team" }, { name: "shared", namespace: "mail" });
  const lines = await linesOf(
    [object("SendingPool", "shared", { spec: { replicas: 1 } }), object("SendingPool", "calm", { spec: {} })],
    [
      ...many,
      far,
      of("orphan", gone(9), { name: "no-such-pool" }),
      of("misspelt", gone(2), { name: "clam" }),
    ],
  );
  assert.ok(lines.includes('mailboat_tenant_drain_oldest_seconds{namespace="mail",pool="shared"} 10800'));
  assert.ok(lines.includes('mailboat_tenant_drain_oldest_seconds{namespace="mail",pool="calm"} 7200'));
  assert.equal(lines.length, 3);
});
