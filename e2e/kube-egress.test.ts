/**
 * Mode Proxy in a cluster: the operator runs the proxies, and mail leaves from their addresses, never from the MTA pods'. Mode Sink: it stays. Mode HostNetwork:
 * it leaves from the node's address. Then NATS falls silent for a while, and an uninstall with `crds.keep=false` leaves nothing.
 */
import assert from "node:assert/strict";
import { until } from "#test/kit/until.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { commandsOf, queuedIn } from "./cluster/commands.ts";
import {
  installChart,
  liveConfiguration,
  type MailScene,
  namespace,
  podsOf,
  pool,
  readyPods,
  settledConfiguration,
  startMailScene,
} from "./cluster/mail-scene.ts";
import { natsSilence } from "./cluster/nats-silence.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { uninstallAll } from "./cluster/uninstall-all.ts";

const statefulSet = `mailboat-${pool}-egress`;

clusterTest("mail leaves from the egress proxies", { needs: "full" }, async (t, cluster) => {
  await cluster.loadImages();
  await installChart(cluster, ["crds.keep=false"]);
  const scene = await startMailScene(cluster, { pool: { egress: egressOf(2) } });
  const [first = "", second = ""] = await addressesOfProxies(cluster, 2);

  await t.test("of two sources each has its share, all of it by the proxies", async () => {
    const load = scene.load({ messages: 300, prefix: "two" });
    await load.done;
    await assertOnce(await scene.arrived([load]), load.accepted.keys());
    const sources = await scene.sources();
    assert.deepEqual([...sources.keys()].toSorted(), [first, second].toSorted());
    for (const [address, messages] of sources) assert.ok(messages > 50, `${address}: ${messages} of 300`);
    const pods = (await readyPods(cluster)).map(({ ip }) => ip);
    assert.ok(pods.length > 0 && pods.every((ip) => !sources.has(ip)), "none from an MTA pod");
  });

  await t.test(
    "a proxy that is lost comes back under its name; what was accepted meanwhile arrives",
    async () => {
      const [before] = await podsOf(cluster, "proxy");
      await cluster.kubectl([
        "delete",
        "pod",
        "-n",
        namespace,
        before?.name ?? "",
        "--force",
        "--grace-period=0",
      ]);
      const load = scene.load({ messages: 100, prefix: "lost" });
      await load.done;
      await scene.arrived([load]);
      await addressesOfProxies(cluster, 2);
      const [after] = (await podsOf(cluster, "proxy")).filter(({ name }) => name === before?.name);
      assert.ok(after !== undefined && after.uid !== before?.uid);
    },
  );

  await t.test("a source that is taken away takes its proxy along", async () => {
    await setEgress(cluster, egressOf(1));
    const [left = ""] = await addressesOfProxies(cluster, 1);
    await cluster.kubectl([
      "wait",
      "-n",
      namespace,
      "--for=condition=Ready",
      `sendingpool/${pool}`,
      "--timeout=60s",
    ]);
    const earlier = await scene.sources();
    const load = scene.load({ messages: 100, prefix: "one" });
    await load.done;
    await assertOnce(await scene.arrived([load]), load.accepted.keys());
    const later = await scene.sources();
    assert.equal((later.get(left) ?? 0) - (earlier.get(left) ?? 0), 100);
  });

  await t.test("in mode Sink mail is taken and stays, for `mailboat sink` to show, and the proxies go", () =>
    sink(cluster, scene),
  );
  await t.test("in mode HostNetwork it leaves from the node's address", () => hostNetwork(cluster, scene));
  await t.test(
    "NATS silent: the status says so, clients wait, an edit is taken; then all is Ready again",
    (t) => natsSilence(t, cluster, scene),
  );
  await t.test("helm uninstall with crds.keep=false: kinds, objects and pods go, and nothing hangs", (t) =>
    uninstallAll(t, cluster),
  );
});

/** Live in all pods when it resolves. */
async function setEgress(cluster: Cluster, egress: object): Promise<void> {
  const generation = await settledConfiguration(cluster);
  const patch = JSON.stringify({ spec: { egress } });
  await cluster.kubectl(["patch", "-n", namespace, `sendingpool/${pool}`, "--type=merge", "--patch", patch]);
  await until("it to be live", async () => (await liveConfiguration(cluster)) > generation, 60_000);
}

async function sink(cluster: Cluster, scene: MailScene): Promise<void> {
  await setEgress(cluster, { mode: "Sink", sources: null });
  const before = await scene.sources();
  const messages = 100;
  const load = scene.load({ messages, prefix: "sunk" });
  await load.done;
  const ids = [...load.accepted.keys()].map((id) => load.queuedAs(id) ?? "");
  assert.equal(ids.length, messages);
  const run = commandsOf(cluster);
  const listed = async (): Promise<string[]> => {
    const answer = await run("sink", "ls", "--json", "--limit", "1000");
    return (JSON.parse(answer) as { messages: { id: string }[] }).messages.map(({ id }) => id);
  };
  await until("all of it to be listed", async () => (await listed()).length >= messages, 30_000);
  assert.deepEqual((await listed()).toSorted(), ids.toSorted());
  const [first = ""] = load.accepted.keys();
  const id = load.queuedAs(first) ?? "";
  assert.match(await run("sink", "show", id), new RegExp(`^X-Test-Id: ${first}$`, "m"));
  assert.match(await run("why", id), /delivered.*250 2\.0\.0 sink: /);
  await until("nothing to be queued", async () => (await queuedIn(cluster)) === 0);
  assert.deepEqual(await scene.sources(), before, "nothing has come to the provider");
  await addressesOfProxies(cluster, 0);
}

async function hostNetwork(cluster: Cluster, scene: MailScene): Promise<void> {
  // Pods on the network of their hosts are not under the restricted profile.
  await cluster.kubectl(
    ["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged"].concat("--overwrite"),
  );
  const { nodeIp } = cluster.place;
  await setEgress(cluster, { mode: "HostNetwork", sources: [{ name: "node", address: nodeIp }] });
  const addresses = async (): Promise<string> =>
    (await podsOf(cluster)).map(({ ip, isReady }) => (isReady ? ip : "")).join();
  await until("its pod to be on the host", async () => (await addresses()) === nodeIp, 90_000);
  const earlier = await scene.sources();
  const load = scene.load({ messages: 100, prefix: "host" });
  await load.done;
  await assertOnce(await scene.arrived([load]), load.accepted.keys());
  const later = await scene.sources();
  assert.deepEqual(later, new Map([...earlier, [nodeIp, 100 + (earlier.get(nodeIp) ?? 0)]]));
}

function egressOf(count: number): object {
  const sources = Array.from({ length: count }, (_, ordinal) => ({
    name: `p${ordinal}`,
    ehlo: `p${ordinal}.out.example.net`,
    proxy: { ordinal },
  }));
  return { mode: "Proxy", allowDestinations: ["10.0.0.0/8"], sources };
}

/** Once there are so many, all of them ready and none on its way out. */
async function addressesOfProxies(cluster: Cluster, count: number): Promise<string[]> {
  const proxies = await until(
    `${count} proxies`,
    async () => {
      const all = await podsOf(cluster, "proxy");
      return all.length === count && all.every(({ isReady }) => isReady) && all;
    },
    90_000,
  );
  if (count > 0) {
    const { spec } = (await cluster.get(["-n", namespace, `statefulset/${statefulSet}`])) as {
      spec: { replicas: number };
    };
    assert.equal(spec.replicas, count);
  }
  return proxies.map(({ ip }) => ip);
}

async function assertOnce(counts: ReadonlyMap<string, number>, ids: Iterable<string>): Promise<void> {
  assert.deepEqual(
    [...ids].filter((id) => counts.get(id) !== 1),
    [],
  );
}
