/** The operator on a real API server in trouble: its leader is killed, and etcd stands still for longer than a Lease may go without renewal. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startTestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";
import { pool, tenant } from "#test/operator/reconcile/world.ts";
import { type Api, openApi } from "./cluster/api.ts";
import { root } from "./cluster/images/images.ts";
import { recorded } from "./cluster/processes.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { type HollowPods, startHollowPods } from "./kit/hollow-pods.ts";
import { type OperatorProcess, startOperator } from "./kit/operator-process.ts";

const group = "/apis/mailboat.dev/v1alpha1/namespaces/mail";
const lease = "/apis/coordination.k8s.io/v1/namespaces/mail/leases/mailboat-operator";
/** A Lease is good for 15 s; the rest is what a busy machine needs. */
const takeOverMs = 60_000;
/** The point of the test: longer than a leader may go on without a renewal (10 s). */
const pauseMs = 20_000;

clusterTest("operators in trouble", { needs: "control-plane" }, async (t, cluster) => {
  await cluster.kubectl(["apply", "--server-side", "-f", join(root, "crds", "manifests")]);
  await cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  await cluster.kubectl(["create", "namespace", "mail"]);
  using api = openApi(cluster);
  await using nats = await startTestNats();
  await using pods = startHollowPods({ api, nats: nats.url });
  const { kubeconfig } = cluster;
  await using first = await startOperator({ kubeconfig, identity: "operator-a" });
  await until("the first to lead", () => leads(first), takeOverMs);
  await using second = await startOperator({ kubeconfig, identity: "operator-b" });
  for (const name of ["acme", "other"]) await api.ask("POST", `${group}/tenants`, tenant(name));
  await api.ask("POST", `${group}/sendingpools`, pool(nats.url));
  await until("the pods to run both tenants", () => run(pods, ({ tenants }) => tenants.size === 2), 90_000);

  await t.test(
    "kill -9 of the leader: the other, which has stood by, leads when the Lease has run out",
    async () => {
      assert.equal(leads(second), false, "one leads at a time");
      const killedAt = performance.now();
      first.kill("SIGKILL");
      await first.exited;
      await edit(api, "acme", 5);
      await until("the second to lead", () => leads(second), takeOverMs);
      t.diagnostic(`taken over after ${seconds(killedAt)} s`);
      assert.ok(performance.now() - killedAt > 5000, "not while the Lease was still good");
      await until("the edit in the pods", () => run(pods, weight("mail/acme", 5)), takeOverMs);
      assert.equal(await holder(api), "operator-b");
    },
  );

  await t.test(
    "etcd stands still for 20 s: the leader ends with code 1, pods run on, the next goes on",
    async () => {
      const etcd = await recorded(cluster.place.folder, "etcd");
      assert.ok(etcd !== undefined);
      const before = [...pods.running()].map(([name, { manifest }]) => `${name} ${manifest.generation}`);
      process.kill(etcd.pid, "SIGSTOP");
      try {
        await delay(pauseMs);
        assert.equal(await second.exited, 1);
      } finally {
        process.kill(etcd.pid, "SIGCONT");
      }
      const lost = second.lines.find(({ event }) => event === "lease lost");
      assert.ok(lost !== undefined, JSON.stringify(second.lines.at(-1)));
      assert.deepEqual(
        [...pods.running()].map(([name, { manifest }]) => `${name} ${manifest.generation}`),
        before,
      );
      await using third = await startOperator({ kubeconfig, identity: "operator-b" });
      await until("it to lead", () => leads(third), takeOverMs);
      await edit(api, "other", 7);
      await until("the edit in the pods", () => run(pods, weight("mail/other", 7)), takeOverMs);
      await until("it to be told", async () => isProgrammed(api, "other"), takeOverMs);
      assert.equal(run(pods, weight("mail/acme", 5)), true);
    },
  );
});

function leads({ lines }: OperatorProcess): boolean {
  return lines.some(
    ({ event, identity, kind }) => event === "leading" && identity !== undefined && kind === undefined,
  );
}

type Config = ReturnType<HollowPods["running"]> extends ReadonlyMap<string, infer One> ? One : never;

/** Both pods are there and each is as it should be. */
function run(pods: HollowPods, isAsItShould: (config: Config) => boolean): boolean {
  const configs = [...pods.running().values()];
  return configs.length === 2 && configs.every(isAsItShould);
}

function weight(id: string, wanted: number): (config: Config) => boolean {
  return ({ tenants }) => tenants.get(id)?.weight === wanted;
}

async function edit(api: Api, name: string, wanted: number): Promise<void> {
  const { status } = await api.ask("PATCH", `${group}/tenants/${name}`, { spec: { weight: wanted } });
  assert.equal(status, 200);
}

async function holder(api: Api): Promise<unknown> {
  const { body } = await api.ask("GET", lease);
  return (body["spec"] as { holderIdentity?: unknown }).holderIdentity;
}

async function isProgrammed(api: Api, name: string): Promise<boolean> {
  const { body } = await api.ask("GET", `${group}/tenants/${name}`);
  const { metadata, status } = body as {
    metadata: { generation: number };
    status?: { conditions?: { type: string; status: string; observedGeneration: number }[] };
  };
  return (status?.conditions ?? []).some(
    (one) =>
      one.type === "Programmed" && one.status === "True" && one.observedGeneration === metadata.generation,
  );
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}
