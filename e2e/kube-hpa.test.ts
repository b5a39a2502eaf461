/** A real HorizontalPodAutoscaler drives a pool by what its pods say of their own backlog, up and down again; and so does the operator by itself. */
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
  await cluster.kubectl(["delete", "-n", namespace, `hpa/${name}`]);
  await t.test("the built-in one, without an HPA: 1 → 2 pods and, a minute later, back", (t) =>
    byItself(t, cluster, scene),
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
  readonly status: { readonly desiredReplicas: number };
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
  const backlog = await hold(cluster, scene, { messages: 10, prefix: "large" });
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
  await backlog.arrived();
  t.diagnostic(`all of it there after ${after()} ms`);
  await reaches(1);
}

interface Backlog {
  /** Each once at each site. */
  arrived(): Promise<void>;
}

/** All of it is there before any of it may go, however slowly it comes in; it goes once the tenant is Active again. */
async function hold(
  cluster: Cluster,
  scene: MailScene,
  { messages, prefix }: { readonly messages: number; readonly prefix: string },
): Promise<Backlog> {
  await setState(cluster, "Hold");
  const load = scene.load({ messages, bytes: largeBytes, recipients: siteCount, connections: 2, prefix });
  await load.done;
  // The provider counts by message, the load by recipient.
  const ids = [...new Set([...load.accepted.keys()].map((key) => key.split(".")[0] ?? ""))];
  assert.equal(ids.length, messages);
  const of = async (check: (count: number) => boolean): Promise<string[]> => {
    const counts = await scene.arrivals();
    return ids.filter((id) => check(counts.get(id) ?? 0));
  };
  return {
    async arrived() {
      const isMissing = async (): Promise<boolean> => (await of((count) => count < siteCount)).length > 0;
      await until("all of it to arrive", async () => !(await isMissing()), 120_000);
      assert.deepEqual(await of((count) => count > siteCount), [], "doubled");
    },
  };
}

/** Its windows are as short as its fields allow: a minute. */
async function byItself(t: TestContext, cluster: Cluster, scene: MailScene): Promise<void> {
  const scaleDown = { stabilization: "60s" };
  const autoscaling = { minReplicas: 1, maxReplicas: 2, targetBacklogPerReplica: 8, scaleDown };
  const patch = JSON.stringify({ spec: { autoscaling } });
  await cluster.kubectl(["patch", "-n", namespace, `mpool/${pool}`, "--type=merge", "--patch", patch]);
  const backlog = await hold(cluster, scene, { messages: 5, prefix: "more" });
  assert.deepEqual([(await poolOf(cluster)).status.desiredReplicas, (await podsOf(cluster)).length], [1, 1]);
  const startedAt = performance.now();
  const after = (): number => Math.round(performance.now() - startedAt);
  await setState(cluster, "Active");
  const reaches = async (replicas: number): Promise<void> => {
    await until(
      `${replicas} pods`,
      async () =>
        (await poolOf(cluster)).status.desiredReplicas === replicas &&
        (await podsOf(cluster)).length === replicas,
      120_000,
    );
    t.diagnostic(`${replicas} pods after ${after()} ms`);
  };
  await reaches(2);
  await backlog.arrived();
  t.diagnostic(`all of it there after ${after()} ms`);
  await reaches(1);
  assert.ok(after() > 60_000, "not before its window is over");
  assert.equal((await poolOf(cluster)).spec.replicas, 1, "what the user wrote stays");
  const { items } = (await cluster.get(["events", "-n", namespace, "--field-selector=reason=Scaled"])) as {
    items: { message: string }[];
  };
  assert.deepEqual(items.map(({ message }) => message).toSorted(), ["1 pods: Idle", "2 pods: Backlog"]);
}
