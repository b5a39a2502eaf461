/**
 * Many tenants on a real API server: how long the first sync takes, in how much memory, and what one more edit costs. 1,000 of
 * them; MAILBOAT_SCALE_TENANTS=10000 for the figure that is promised, which takes minutes to fill.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startTestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";
import { pool, secret, shape, tenant } from "#test/operator/reconcile/world.ts";
import { type Api, openApi } from "./cluster/api.ts";
import { kubeconfig as kubeconfigOf } from "./cluster/authority.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { root } from "./cluster/images/images.ts";
import { recorded } from "./cluster/processes.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { startHollowPods } from "./kit/hollow-pods.ts";
import { cpuSecondsOf, startOperator } from "./kit/operator-process.ts";

const tenants = Number(process.env["MAILBOAT_SCALE_TENANTS"] ?? 1000);
const group = "/apis/mailboat.dev/v1alpha1/namespaces/mail";
/** MiB. */
const memoryBound = 300;
/** Of a machine that does much else; the figure is printed. */
const syncBoundMs = 240_000;

clusterTest(`${tenants} tenants`, { needs: "control-plane" }, async (t, cluster) => {
  await cluster.kubectl(["apply", "--server-side", "-f", join(root, "crds", "manifests")]);
  await cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  await cluster.kubectl(["create", "namespace", "mail"]);
  using api = openApi(cluster);
  await using nats = await startTestNats();
  const before = performance.now();
  await fill(api, nats.url);
  t.diagnostic(`${tenants} tenants and Secrets made in ${seconds(before)} s`);
  await using pods = startHollowPods({ api, nats: nats.url });
  const startedAt = performance.now();
  // A machine that is busy with other tests may starve the Lease, which operator-trouble.test.ts is about.
  const args = ["--no-leader-election"];
  const kubeconfig = await accountOf(cluster);
  const spent = await startCounting(cluster);
  await using operator = await startOperator({ kubeconfig, args });
  const run = (): boolean => [...pods.running().values()].some(({ tenants: { size } }) => size === tenants);
  await until("a pod to run all tenants", run, syncBoundMs);
  await untilProgrammed(api);
  const { most } = operator.memory();
  t.diagnostic(`first sync: ${seconds(startedAt)} s, ${operator.cpuSeconds()} s of CPU, at most ${most} MiB`);
  t.diagnostic(`meanwhile, in s of CPU: ${spent()}`);
  assert.equal(
    [...pods.running().values()].every((config) => config.tenants.size === tenants),
    true,
  );

  await t.test("one of them edited: one write of a ConfigMap", async () => {
    await until("the pool to be settled", async () => isReady(api));
    const versions = await configMaps(api);
    const editedAt = performance.now();
    await api.ask("PATCH", `${group}/tenants/t00042`, { spec: { weight: 7 } });
    await until(
      "the pods to run it",
      () => [...pods.running().values()].every((config) => config.tenants.get("mail/t00042")?.weight === 7),
      60_000,
    );
    t.diagnostic(`an edit in all pods after ${seconds(editedAt)} s`);
    await until("the edit to be programmed", () => isCurrent(api, "t00042"), 60_000);
    const changed = [...(await configMaps(api))].filter(([name, version]) => versions.get(name) !== version);
    assert.equal(changed.length, 1, changed.join());
  });

  await t.test(`its memory stays below ${memoryBound} MiB`, () => {
    t.diagnostic(`${operator.memory().now} MiB, at most ${operator.memory().most}`);
    assert.ok(operator.memory().most < memoryBound, `${operator.memory().most} MiB`);
  });
});

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}

/** A kubeconfig with a token, as in a pod: a certificate, which the API server verifies at each request, costs it a tenth more. */
async function accountOf({ kubectl, place, server, controlPlane }: Cluster): Promise<string> {
  const [account, namespace] = ["operator", "mail"];
  await kubectl(["create", "serviceaccount", account, "-n", namespace]);
  const subject = `--serviceaccount=${namespace}:${account}`;
  await kubectl(["create", "clusterrolebinding", account, "--clusterrole=cluster-admin", subject]);
  const token = (await kubectl(["create", "token", account, "-n", namespace, "--duration=2h"])).trim();
  const file = join(place.folder, "operator.kubeconfig");
  await writeFile(file, kubeconfigOf(server, controlPlane.authority.ca, { token }));
  return file;
}

/** What the control plane, and this process, which plays the pods, spend from now on. */
async function startCounting({ place }: Cluster): Promise<() => string> {
  const names = ["kube-apiserver", "etcd", "kube-controller-manager"];
  const ids = await Promise.all(names.map((name) => recorded(place.folder, name)));
  const counted = [...names, "this test"].map((name, at) => {
    const pid = name === "this test" ? process.pid : (ids[at]?.pid ?? 0);
    return { name, pid, before: cpuSecondsOf(pid) };
  });
  return () =>
    counted.map(({ name, pid, before }) => `${name} ${(cpuSecondsOf(pid) - before).toFixed(1)}`).join(", ");
}

/** One after the other of a few: to list 10,000 again and again would cost the API server as much as all of the operator's writes. */
async function untilProgrammed(api: Api): Promise<void> {
  const deadline = performance.now() + syncBoundMs;
  for (let index = 0; index < tenants; index += 50) {
    let looks = 0;
    const isDone = async (): Promise<boolean> => looks++ % 10 === 0 && (await isCurrent(api, nameOf(index)));
    await until(`${nameOf(index)} to be programmed`, isDone, deadline - performance.now());
  }
  const all = async (): Promise<boolean> => (await programmed(api)) === tenants;
  await until("all tenants to be programmed", all, deadline - performance.now());
}

function nameOf(index: number): string {
  return `t${String(index).padStart(5, "0")}`;
}

/** Each with a login and a 2048-bit key of its own name, in a Secret of its own. */
async function fill(api: Api, nats: string): Promise<void> {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const dkim = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await created(api, `${group}/trafficshapes`, shape());
  await created(api, `${group}/sendingpools`, pool(nats, { trafficShapeRefs: [{ name: "providers" }] }));
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < tenants; index = next++) {
      const name = nameOf(index);
      const ref = { name };
      const domains = [
        { name: `${name}.example`, dkim: [{ selector: "m1", secretRef: { ...ref, key: "dkim" } }] },
      ];
      const credentials = [{ name: "app", secretRef: ref }];
      const limits = { messageRate: "100/s", messagesPerDay: 1_000_000 };
      const data = { username: name, password: `password ${index}`, dkim };
      await created(api, "/api/v1/namespaces/mail/secrets", secret(name, data));
      await created(api, `${group}/tenants`, tenant(name, { domains, credentials, limits }));
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));
}

async function created(api: Api, path: string, object: object): Promise<void> {
  const { status, body } = await api.ask("POST", path, object);
  assert.equal(status, 201, JSON.stringify(body));
}

interface Listed {
  readonly metadata: {
    readonly name: string;
    readonly generation?: number;
    readonly resourceVersion: string;
  };
  readonly status?: {
    readonly conditions?: readonly { type: string; status: string; observedGeneration: number }[];
  };
}

function isProgrammed({ metadata, status }: Listed): boolean {
  return (status?.conditions ?? []).some(
    (one) =>
      one.type === "Programmed" && one.status === "True" && one.observedGeneration === metadata.generation,
  );
}

async function programmed(api: Api): Promise<number> {
  const { body } = await api.ask("GET", `${group}/tenants?resourceVersion=0`);
  return ((body["items"] ?? []) as Listed[]).filter(isProgrammed).length;
}

async function isCurrent(api: Api, name: string): Promise<boolean> {
  const { body } = await api.ask("GET", `${group}/tenants/${name}`);
  return isProgrammed(body as unknown as Listed);
}

async function isReady(api: Api): Promise<boolean> {
  const { body } = await api.ask("GET", `${group}/sendingpools/shared`);
  return isProgrammed(body as unknown as Listed);
}

/** Versions of the pool's, by name. */
async function configMaps(api: Api): Promise<Map<string, string>> {
  const label = encodeURIComponent("mailboat.dev/pool=shared");
  const { body } = await api.ask("GET", `/api/v1/namespaces/mail/configmaps?labelSelector=${label}`);
  const items = (body["items"] ?? []) as Listed[];
  return new Map(items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
}
