/** `helm upgrade` from the release before, under load: no mail lost, kinds upgraded, objects untouched; then `helm test`, green and red. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { until } from "#test/kit/until.ts";
import type { Load } from "./kit/load.ts";
import { openApi } from "./cluster/api.ts";
import { type Breakage, brokenPool, natsAway, operatorAway } from "./cluster/breakages.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { type Former, forgetField, unpackFormer } from "./cluster/former.ts";
import { root } from "./cluster/images/images.ts";
import {
  chartArguments,
  liveConfiguration,
  type MailScene,
  namespace,
  namespaceObject,
  podsOf,
  pool,
  shapeObject,
  startMailScene,
  system,
} from "./cluster/mail-scene.ts";
import { clusterTest } from "./cluster/scenario.ts";

const replicas = 2;
const [release = "", , ...options] = chartArguments;
/** A field of pools that the former release is made to lack. */
const newField = "disruptionBudget";

clusterTest("helm upgrade from the release before", { needs: "full" }, async (t, cluster) => {
  const former = await unpackFormer(join(cluster.place.folder, "former"));
  await forgetField(former, "sendingpools", newField);
  await cluster.loadImages([former, { root, tag: "next" }]);
  await cluster.apply([namespaceObject(system)]);
  await cluster.helm(["install", release, former.chart, ...options, "--set", `image.tag=${former.tag}`]);
  const scene = await startMailScene(cluster, { pool: { replicas } });
  const load = scene.load({ messages: Infinity, perSecond: 50, prefix: "upgrade" });
  try {
    await accepted(load, 100);
    await t.test("all of it: kinds, operator and pods are new, objects and NATS are as they were", (t) =>
      upgrade(t, cluster, former),
    );
    await accepted(load, 100);
    await t.test("the operator alone: no pod of a pool is touched", () => operatorAlone(cluster));
    await accepted(load, 100);
  } finally {
    load.stop();
  }
  await t.test("of the mail that was accepted meanwhile none is lost, none doubled", (t) =>
    allThere(t, scene, load),
  );
  await t.test("helm test is green", async () => {
    assert.match(await helmTest(cluster), /Phase:\s+Succeeded/);
  });
  await t.test("helm test is red: a pool takes no mail", () =>
    red(cluster, brokenPool, /failed: pools take mail: the pool mail\/broken/),
  );
  await t.test("helm test is red: the operator is away", () =>
    red(cluster, operatorAway, /failed: the operator is ready/),
  );
  await t.test("helm test is red: NATS is away", () => red(cluster, natsAway, /failed: NATS has JetStream/));
});

async function accepted(load: Load, more: number): Promise<void> {
  const from = load.accepted.size;
  await until("mail to be accepted", () => load.accepted.size >= from + more, 60_000);
}

async function upgrade(t: TestContext, cluster: Cluster, former: Former): Promise<void> {
  assert.match(await saysToNewField(cluster), new RegExp(`unknown field "spec.${newField}"`));
  const before = {
    objects: await objects(cluster),
    nats: await uids(cluster, "nats"),
    pods: await podsOf(cluster),
  };
  const image = (await template(cluster)).spec.containers[0]?.image;
  assert.equal(image, `mailboat-pod:${former.tag}`);
  const startedAt = performance.now();
  await cluster.helm(["upgrade", ...chartArguments]);
  const helmMs = Math.round(performance.now() - startedAt);
  await assertKinds(cluster);
  await until(
    "all pods to be of the new release",
    async () => {
      const now = await podsOf(cluster);
      const isNew = now.every(({ uid, isReady }) => isReady && before.pods.every((old) => old.uid !== uid));
      return now.length === replicas && isNew;
    },
    180_000,
  );
  t.diagnostic(
    `helm upgrade took ${helmMs} ms, all pods were new after ${Math.round(performance.now() - startedAt)} ms`,
  );
  await cluster.kubectl([
    "wait",
    "-n",
    namespace,
    "--for=condition=Ready",
    "mpool,mtenant,mshape",
    "--all",
    "--timeout=60s",
  ]);
  assert.deepEqual(await objects(cluster), before.objects);
  assert.deepEqual(await uids(cluster, "nats"), before.nats);
  assert.equal(await saysToNewField(cluster), "");
}

/** A write under strict validation that changes nothing: what the API server says to it, "" when it takes it. */
async function saysToNewField(cluster: Cluster): Promise<string> {
  using api = openApi(cluster);
  const path = `/apis/mailboat.dev/v1alpha1/namespaces/${namespace}/sendingpools/${pool}`;
  const spec = { [newField]: { maxUnavailable: 1 } };
  const { status, body } = await api.ask("PATCH", `${path}?dryRun=All&fieldValidation=Strict`, { spec });
  return status === 200 ? "" : String(body["message"]);
}

/** The kinds are those of crds/manifests, in the API server's spelling: it leaves out what is as if unsaid. */
async function assertKinds(cluster: Cluster): Promise<void> {
  const folder = join(root, "crds", "manifests");
  for (const file of await readdir(folder)) {
    const replace = ["replace", "--dry-run=server", "-f", join(folder, file), "-o", "json"];
    const wanted = JSON.parse(await cluster.kubectl(replace)) as Definition;
    const live = (await cluster.get([`crd/${wanted.metadata.name}`])) as unknown as Definition;
    assert.deepEqual(live.spec.versions, wanted.spec.versions, wanted.metadata.name);
  }
}

interface Definition {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly versions: readonly object[] };
}

/** What users wrote, and who it is: all but what moves by itself. */
async function objects(cluster: Cluster): Promise<unknown[]> {
  const all = ["mtenant,mpool,mshape", "secret/acme-smtp", `secret/${pool}-tls`].map(async (what) => {
    const { items, ...one } = await cluster.get(["-n", namespace, what]);
    return (items ?? [one]) as Record<string, unknown>[];
  });
  const found = (await Promise.all(all)).flat();
  assert.equal(found.length, 5);
  return found.map((object) => {
    const metadata = { ...(object["metadata"] as object), resourceVersion: undefined };
    return { ...object, metadata, status: undefined };
  });
}

async function uids(cluster: Cluster, component: string): Promise<string[]> {
  const selector = `app.kubernetes.io/component=${component}`;
  const { items } = (await cluster.get(["pods", "-n", system, "-l", selector])) as {
    items: { metadata: { uid: string } }[];
  };
  return items.map(({ metadata }) => metadata.uid).toSorted();
}

interface Template {
  readonly spec: { readonly containers: readonly { readonly image: string }[] };
}

async function template(cluster: Cluster): Promise<Template> {
  const { spec } = (await cluster.get(["-n", namespace, `deployment/mailboat-${pool}`])) as {
    spec: { template: Template };
  };
  return spec.template;
}

async function operatorAlone(cluster: Cluster): Promise<void> {
  const before = {
    pods: await podsOf(cluster),
    template: await template(cluster),
    operator: await uids(cluster, "operator"),
  };
  await cluster.helm([
    "upgrade",
    ...chartArguments,
    "--set",
    "operator.image.tag=next,test.patienceSeconds=3",
  ]);
  const isAlone = async (): Promise<boolean> => {
    const now = await uids(cluster, "operator");
    return now.length === 1 && now[0] !== before.operator[0];
  };
  await until("the new operator to be alone", isAlone, 60_000);
  // What is edited now is its work: it leads, and has looked at everything.
  const earlier = await liveConfiguration(cluster);
  await cluster.apply([shapeObject(5)]);
  await until("the edit to be live", async () => (await liveConfiguration(cluster)) > earlier, 60_000);
  assert.deepEqual(await template(cluster), before.template);
  assert.deepEqual(await podsOf(cluster), before.pods);
}

async function allThere(t: TestContext, scene: MailScene, load: Load): Promise<void> {
  await load.done;
  const counts = await scene.arrived([load]);
  const doubled = [...load.accepted.keys()].filter((id) => (counts.get(id) ?? 0) > 1);
  t.diagnostic(
    `accepted ${load.accepted.size}, lost 0, doubled ${doubled.length}, refused ${load.refused.length}`,
  );
  assert.deepEqual(doubled, []);
  assert.deepEqual(
    load.refused.filter(({ code }) => code >= 500),
    [],
  );
}

async function helmTest(cluster: Cluster): Promise<string> {
  return cluster.helm(["test", release, "--namespace", system, "--timeout", "60s"]);
}

/** After `breaks` helm says no, and the pod that it ran says why. What was broken is whole again afterwards. */
async function red(cluster: Cluster, breaks: Breakage, why: RegExp): Promise<void> {
  const mend = await breaks(cluster);
  try {
    await assert.rejects(helmTest(cluster), /failed/i);
    assert.match(await cluster.kubectl(["logs", "-n", system, `${release}-test`]), why);
  } finally {
    await mend();
  }
}
