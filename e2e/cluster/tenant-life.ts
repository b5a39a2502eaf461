/** What becomes of a tenant in a cluster, asserted: its login changes, it goes with mail in the queue, drained or discarded. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { createTransport } from "nodemailer";
import { podPorts } from "#operator/resources/ports.ts";
import { until } from "#test/kit/until.ts";
import type { Cluster } from "./cluster.ts";
import { commandsOf, queuedIn } from "./commands.ts";
import {
  liveConfiguration,
  type MailScene,
  namespace,
  password,
  pool,
  readyPods,
  settledConfiguration,
  slowDomain,
  tenantObjects,
} from "./mail-scene.ts";

/** From the change of a Secret to a login by it, at every pod: the kubelet is made to look at once. */
const rotatedMs = 10_000;

/** Its password changes in the Secret: at each pod the new one is taken within seconds and the old one is not, no pod restarts, the status says so. */
export async function rotate(t: TestContext, cluster: Cluster, { certificate }: MailScene): Promise<void> {
  const pods = await readyPods(cluster);
  assert.ok(pods.length > 1, "each pod reads its own");
  const doors = await Promise.all(pods.map(({ ip }) => cluster.forward(`${ip}:${podPorts.submission}`)));
  /** How many pods take it. */
  const takes = async (pass: string): Promise<number> => {
    const answers = doors.map(async ({ address }) => {
      const [host, port] = address.split(":");
      const tls = { ca: certificate.ca, servername: `mailboat-${pool}.${namespace}.svc.cluster.local` };
      const auth = { user: "acme", pass };
      const transport = createTransport({ host, port: Number(port), requireTLS: true, tls, auth });
      return transport.verify().catch((error: unknown) => {
        assert.equal(Reflect.get(Object(error), "responseCode"), 535, String(error));
        return false;
      });
    });
    return (await Promise.all(answers)).filter(Boolean).length;
  };
  const change = async (from: string, to: string): Promise<number> => {
    assert.deepEqual([await takes(from), await takes(to)], [pods.length, 0]);
    const generation = await settledConfiguration(cluster);
    const startedAt = performance.now();
    const patch = JSON.stringify({ stringData: { password: to } });
    await cluster.kubectl(["patch", "-n", namespace, "secret/acme-smtp", "--patch", patch]);
    await until("the new login", async () => (await takes(to)) === pods.length, 60_000);
    const ms = Math.round(performance.now() - startedAt);
    assert.equal(await takes(from), 0, "nobody takes the old one");
    await until("the status to say so", async () => (await liveConfiguration(cluster)) > generation);
    const wait = ["wait", "-n", namespace, "--for=condition=Programmed", "mtenant/acme", "--timeout=10s"];
    await cluster.kubectl(wait);
    return ms;
  };
  const times = [await change(password, "another one"), await change("another one", password)];
  t.diagnostic(`at ${pods.length} pods from the start of kubectl patch: ${times.join(", ")} ms`);
  assert.ok(Math.max(...times) < rotatedMs, `${times.join(", ")} ms`);
  assert.deepEqual(await readyPods(cluster), pods);
}

/** With `deletionPolicy: Discard` its queued mail goes with it: nothing of it is delivered, and nobody is told. */
export async function discard(t: TestContext, cluster: Cluster, scene: MailScene): Promise<void> {
  const name = "dropped";
  // Its domain is one of the provider's, so that a report to its sender would be seen there.
  const more = { domains: [{ name: "site7.test" }], state: "Hold", deletionPolicy: "Discard" };
  await cluster.apply(tenantObjects(name, more));
  const wait = ["wait", "-n", namespace, `tenant/${name}`, "--timeout=60s"];
  await cluster.kubectl([...wait, "--for=condition=Ready"]);
  const messages = 40;
  const load = scene.load({ messages, prefix: name, user: name, from: "news@site7.test" });
  await load.done;
  assert.equal(load.accepted.size, messages);
  await until("all of it to be queued", async () => (await queuedIn(cluster)) === messages, 30_000);
  const all = async (): Promise<number> =>
    [...(await scene.sources()).values()].reduce((sum, count) => sum + count, 0);
  const before = await all();
  const startedAt = performance.now();
  await cluster.kubectl(["delete", "-n", namespace, `tenant/${name}`, "--timeout=30s"]);
  t.diagnostic(`discarded and gone after ${Math.round(performance.now() - startedAt)} ms`);
  assert.equal(await queuedIn(cluster), 0, "neither its mail nor a report is left");
  const ids = [...load.accepted.keys()];
  const why = await commandsOf(cluster)("why", load.queuedAs(ids[0] ?? "") ?? "");
  assert.match(why, /bounced.*discarded: its tenant was deleted/);
  assert.equal(await all(), before, "nothing has come to the provider");
  const arrivals = await scene.arrivals();
  assert.deepEqual(
    ids.filter((id) => arrivals.has(id)),
    [],
  );
}

/** By default its queued mail is delivered first. */
export async function drain(t: TestContext, cluster: Cluster, scene: MailScene): Promise<void> {
  await cluster.apply(tenantObjects("leaving"));
  await cluster.kubectl([
    "wait",
    "-n",
    namespace,
    "--for=condition=Ready",
    "tenant/leaving",
    "--timeout=60s",
  ]);
  const load = scene.load({
    messages: 20,
    domains: [slowDomain],
    prefix: "leaving",
    user: "leaving",
    from: "news@leaving.example",
  });
  await load.done;
  assert.equal(load.accepted.size, 20);
  await cluster.kubectl(["delete", "-n", namespace, "tenant/leaving", "--wait=false"]);
  const { metadata } = (await cluster.get(["-n", namespace, "tenant/leaving"])) as {
    metadata: { finalizers: string[]; deletionTimestamp: string };
  };
  assert.deepEqual(metadata.finalizers, ["mailboat.dev/drain"]);
  const startedAt = performance.now();
  await scene.arrived([load], 90_000);
  await cluster.kubectl(["wait", "-n", namespace, "--for=delete", "tenant/leaving", "--timeout=90s"]);
  t.diagnostic(`drained and gone after ${Math.round(performance.now() - startedAt)} ms`);
}
