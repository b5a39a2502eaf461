/**
 * The operator on a real API server in trouble: its leader is killed, the API server is killed and starts again, and etcd stands still for
 * longer than a Lease may go without renewal.
 */
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
const leasePath = "/apis/coordination.k8s.io/v1/namespaces/mail/leases/mailboat-operator";
const adminService = "/api/v1/namespaces/mail/services/mailboat-shared-admin";
/** A Lease is good for 15 s; the rest is what a busy machine needs. */
const takeOverMs = 60_000;
/** Well below the 10 s that a leader goes on without a renewal: it asks every 2 s. */
const goesOnMs = 7000;
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
  // Its log tells of watches that broke.
  const args = ["--log-level", "debug"];
  await using second = await startOperator({ kubeconfig, identity: "operator-b", args });
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
      assert.equal((await leaseOf(api)).holderIdentity, "operator-b");
    },
  );

  await using again = new AsyncDisposableStack();
  let leader = second;
  await t.test(
    "kill -9 of the API server: the leader keeps its Lease and watches again, pods run on",
    async (t) => {
      const before = generations(pods);
      const uid = await uidOf(api, adminService);
      // Right after a renewal: the API server has all the time that a leader may go on without the next.
      const lease = await renewedLease(api, leader, await leaseOf(api));
      assert.ok(lease !== undefined);
      const said = leader.lines.length;
      const killedAt = performance.now();
      await cluster.restart("kube-apiserver");
      const awayMs = performance.now() - killedAt;
      const renewed = await renewedLease(api, leader, lease);
      t.diagnostic(`the API server was away for ${(awayMs / 1000).toFixed(1)} s`);
      assert.deepEqual(generations(pods), before);
      if (renewed === undefined) {
        // On a machine that is so busy the leader is right to end; it is started again, as a kubelet does.
        assert.ok(awayMs > goesOnMs, `the Lease was lost after ${awayMs} ms`);
        t.diagnostic("longer than a leader goes on: the next one's turn");
        assert.equal(await leader.exited, 1);
        leader = again.use(await startOperator({ kubeconfig, identity: "operator-b" }));
      }
      // Tenants are watched again if the edit is seen, Services if one is missed, Deployments and pods if the status is told.
      await edit(api, "other", 4);
      await api.ask("DELETE", adminService);
      await until("the edit in the pods", () => run(pods, weight("mail/other", 4)), takeOverMs);
      await until("it to be told", async () => isProgrammed(api, "other"), takeOverMs);
      await until("another Service", async () => isAnother(api, adminService, uid), takeOverMs);
      if (renewed === undefined) return;
      assert.deepEqual({ ...renewed, renewTime: "" }, { ...lease, renewTime: "" });
      assertWatchedOn(leader.lines, said);
    },
  );

  await t.test(
    "etcd stands still for 20 s: the leader ends with code 1, pods run on, the next goes on",
    async () => {
      const etcd = await recorded(cluster.place.folder, "etcd");
      assert.ok(etcd !== undefined);
      const before = generations(pods);
      process.kill(etcd.pid, "SIGSTOP");
      try {
        await delay(pauseMs);
        assert.equal(await leader.exited, 1);
      } finally {
        process.kill(etcd.pid, "SIGCONT");
      }
      const lost = leader.lines.find(({ event }) => event === "lease lost");
      assert.ok(lost !== undefined, JSON.stringify(leader.lines.at(-1)));
      assert.deepEqual(generations(pods), before);
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

/** Which configuration each pod runs. */
function generations(pods: HollowPods): string[] {
  return [...pods.running()].map(([name, { manifest }]) => `${name} ${manifest.generation}`);
}

interface LeaseSpec {
  readonly holderIdentity: string;
  readonly leaseTransitions: number;
  readonly renewTime: string;
}

async function leaseOf(api: Api): Promise<LeaseSpec> {
  return (await api.ask("GET", leasePath)).body["spec"] as LeaseSpec;
}

/** The next renewal after `before`; undefined when the leader lost its Lease. */
async function renewedLease(
  api: Api,
  { lines }: OperatorProcess,
  before: LeaseSpec,
): Promise<LeaseSpec | undefined> {
  const found = await until(
    "a renewal, or the loss of the Lease",
    async () => {
      if (lines.some(({ event }) => event === "lease lost")) return "lost";
      const now = await leaseOf(api);
      return now.renewTime !== before.renewTime && now;
    },
    takeOverMs,
  );
  return found === "lost" ? undefined : found;
}

/** Every kind's watch broke, and the leader is the same all along. */
function assertWatchedOn(lines: OperatorProcess["lines"], from: number): void {
  const kindsOf = (wanted: string, all: OperatorProcess["lines"]): string[] =>
    [...new Set(all.filter(({ event }) => event === wanted).map(({ kind }) => String(kind)))].toSorted();
  const since = lines.slice(from);
  assert.deepEqual(kindsOf("watch-ended", since), kindsOf("synced", lines));
  for (const line of since)
    assert.ok(line.event !== "leading" && line.event !== "lease lost", JSON.stringify(line));
}

async function uidOf(api: Api, path: string): Promise<string> {
  const { status, body } = await api.ask("GET", path);
  assert.equal(status, 200, path);
  return (body["metadata"] as { uid: string }).uid;
}

async function isAnother(api: Api, path: string, uid: string): Promise<boolean> {
  const { status, body } = await api.ask("GET", path);
  return status === 200 && (body["metadata"] as { uid: string }).uid !== uid;
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
