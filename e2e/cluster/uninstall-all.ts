/** `helm uninstall` of a chart with `crds.keep=false`, asserted: all that it made goes, all that was made of it, and the namespace can go. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { until } from "#test/kit/until.ts";
import type { Cluster } from "./cluster.ts";
import { namespace, podsOf, system } from "./mail-scene.ts";
import { poolChildren } from "./pool-children.ts";

const kinds = ["deployment", "statefulset", "service", "configmap", "secret", "serviceaccount"].concat([
  "job",
  "pod",
]);

export async function uninstallAll(t: TestContext, cluster: Cluster): Promise<void> {
  const definitions = (): Promise<string> => cluster.kubectl(["get", "crd", "-o", "name"]);
  const children = async (): Promise<string[]> => Object.keys(await poolChildren(cluster));
  assert.match(await definitions(), /mailboat\.dev/);
  assert.ok((await children()).length > 5);
  const tenants = await cluster.get(["-n", namespace, "mtenant"]);
  const finalizers = (tenants["items"] as { metadata: { finalizers?: string[] } }[]).map(
    ({ metadata }) => metadata.finalizers,
  );
  assert.ok(finalizers.length > 0 && finalizers.every((one) => one?.join() === "mailboat.dev/drain"));
  const left = async (): Promise<string> =>
    cluster.kubectl([
      "get",
      "-n",
      system,
      kinds.join(),
      "-l",
      "app.kubernetes.io/name=mailboat",
      "-o",
      "name",
    ]);
  assert.match(await left(), /deployment/);
  const startedAt = performance.now();
  const after = (): number => Math.round(performance.now() - startedAt);
  await cluster.helm(["uninstall", "mailboat", "--namespace", system, "--wait", "--timeout", "60s"]);
  t.diagnostic(`helm uninstall took ${after()} ms`);
  await until("the kinds to be gone", async () => !(await definitions()).includes("mailboat.dev"), 30_000);
  t.diagnostic(`the kinds and their objects were gone after ${after()} ms`);
  await until(
    "all that the pool was made of to be gone",
    async () => (await children()).length + (await podsOf(cluster)).length === 0,
    90_000,
  );
  t.diagnostic(`the pool's pods were gone after ${after()} ms`);
  await until("all of the release to be gone", async () => (await left()) === "", 60_000);
  await cluster.kubectl(["delete", "namespace", namespace, "--timeout=60s"]);
}
