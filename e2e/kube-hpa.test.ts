/** A real HorizontalPodAutoscaler drives a pool by what its pods say of their own backlog, up and down again. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { until } from "#test/kit/until.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { serveExternalMetrics } from "./cluster/external-metrics.ts";
import {
  installChart,
  type MailScene,
  namespace,
  podsOf,
  pool,
  siteCount,
  startMailScene,
} from "./cluster/mail-scene.ts";
import { clusterTest } from "./cluster/scenario.ts";

const name = "by-backlog";
const maxReplicas = 3;
/** A pod has 256 MiB under way at most, and of one site half of what is left: of what is this large, 13. Each of them is at its site for twice the tarpit's time. */
const largeBytes = 20_000_000;
const tarpit = { domains: ["*"], tarpit: { delayMs: 3000 } };

clusterTest("an HPA by the pods' own metric", { needs: "full" }, async (t, cluster) => {
  await cluster.loadImages();
  await installChart(cluster);
  const scene = await startMailScene(cluster, { rules: [tarpit] });
  await serveExternalMetrics(cluster, { namespace, pool });
  await cluster.apply([autoscaler()]);
  await t.test("without a backlog it reads 0 and leaves one pod", () => idle(cluster));
  await t.test("1 → 3 pods under a backlog, and back: none lost, none doubled", (t) =>
    upAndDown(t, cluster, scene),
  );
});

/** Both ways at once, so that minutes of patience are not what is tested. */
function autoscaler(): object {
  const atOnce = {
    stabilizationWindowSeconds: 0,
    policies: [{ type: "Pods", value: 10, periodSeconds: 15 }],
  };
  const metric = { name: "mailboat_unserved_backlog" };
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { namespace, name },
    spec: {
      scaleTargetRef: { apiVersion: "mailboat.dev/v1alpha1", kind: "SendingPool", name: pool },
      minReplicas: 1,
      maxReplicas,
      metrics: [
        { type: "External", external: { metric, target: { type: "AverageValue", averageValue: "8" } } },
      ],
      behavior: { scaleUp: atOnce, scaleDown: atOnce },
    },
  };
}

interface AutoscalerStatus {
  readonly desiredReplicas?: number;
  readonly currentMetrics?: readonly {
    readonly external?: { readonly current: { readonly averageValue: string } };
  }[];
  readonly conditions?: readonly {
    readonly type: string;
    readonly status: string;
    readonly reason: string;
  }[];
}

async function statusOf(cluster: Cluster): Promise<AutoscalerStatus> {
  const { status } = (await cluster.get(["-n", namespace, `hpa/${name}`])) as { status?: AutoscalerStatus };
  return status ?? {};
}

async function idle(cluster: Cluster): Promise<void> {
  const status = await until(
    "the HPA to have read the metric",
    async () => {
      const now = await statusOf(cluster);
      return now.currentMetrics?.[0]?.external !== undefined && now;
    },
    60_000,
  );
  assert.equal(status.currentMetrics?.[0]?.external?.current.averageValue, "0");
  const active = status.conditions?.find(({ type }) => type === "ScalingActive");
  assert.deepEqual([active?.status, active?.reason], ["True", "ValidMetricFound"]);
  assert.equal((await poolOf(cluster)).spec.replicas, 1);
}

async function setState(cluster: Cluster, state: "Hold" | "Active"): Promise<void> {
  const patch = JSON.stringify({ spec: { state } });
  await cluster.kubectl(["patch", "-n", namespace, "mtenant/acme", "--type=merge", "--patch", patch]);
  // The edit is live when the tenant is Programmed again, in its new generation.
  await cluster.kubectl([
    "wait",
    "-n",
    namespace,
    "--for=condition=Programmed",
    "mtenant/acme",
    "--timeout=30s",
  ]);
}

interface Pool {
  readonly metadata: {
    readonly managedFields: readonly { readonly manager: string; readonly subresource?: string }[];
  };
  readonly spec: { readonly replicas: number };
}

async function poolOf(cluster: Cluster): Promise<Pool> {
  return (await cluster.get([
    "-n",
    namespace,
    "--show-managed-fields",
    `sendingpool/${pool}`,
  ])) as unknown as Pool;
}

async function upAndDown(t: TestContext, cluster: Cluster, scene: MailScene): Promise<void> {
  // All of it is there before any of it may go, however slowly it comes in.
  await setState(cluster, "Hold");
  const load = scene.load({
    messages: 10,
    bytes: largeBytes,
    recipients: siteCount,
    connections: 2,
    prefix: "large",
  });
  await load.done;
  assert.equal((await poolOf(cluster)).spec.replicas, 1, "what is held needs no pods");
  const startedAt = performance.now();
  const after = (): number => Math.round(performance.now() - startedAt);
  await setState(cluster, "Active");
  const reaches = async (replicas: number): Promise<void> => {
    let most = 0;
    await until(
      `${replicas} pods`,
      async () => {
        const { currentMetrics } = await statusOf(cluster);
        most = Math.max(most, Number(currentMetrics?.[0]?.external?.current.averageValue ?? 0));
        // Started, ready or not: on a slow machine the first pod may be done before the others are.
        return (
          (await poolOf(cluster)).spec.replicas === replicas && (await podsOf(cluster)).length === replicas
        );
      },
      90_000,
    ).catch(async (error: unknown) => {
      const read = await cluster.kubectl([
        "logs",
        "-n",
        namespace,
        "deployment/metrics-adapter",
        "--tail=20",
      ]);
      const status = JSON.stringify(await statusOf(cluster));
      throw new Error(`${String(error)}\n${read}${status}`, { cause: error });
    });
    t.diagnostic(`${replicas} pods ${after()} ms after mail was let go; at most ${most} a pod were read`);
  };
  await reaches(maxReplicas);
  const writers = (await poolOf(cluster)).metadata.managedFields.filter(
    ({ subresource }) => subresource === "scale",
  );
  assert.deepEqual(
    writers.map(({ manager }) => manager),
    ["kube-controller-manager"],
    "by /scale, and by nobody else",
  );
  // The provider counts by message, the load by recipient.
  const ids = [...new Set([...load.accepted.keys()].map((key) => key.split(".")[0] ?? ""))];
  const of = async (check: (count: number) => boolean): Promise<string[]> => {
    const counts = await scene.arrivals();
    return ids.filter((id) => check(counts.get(id) ?? 0));
  };
  await until(
    "all of it to arrive",
    async () => (await of((count) => count < siteCount)).length === 0,
    120_000,
  );
  t.diagnostic(`${ids.length} messages for ${siteCount} sites there after ${after()} ms`);
  assert.deepEqual(await of((count) => count > siteCount), [], "doubled");
  await reaches(1);
}
