/** What charts/ has for users to apply, shown to a real API server: it takes all of it, and warns of nothing. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Cluster } from "./cluster/cluster.ts";
import { root } from "./cluster/images/images.ts";
import { namespaceObject, system } from "./cluster/mail-scene.ts";
import { monitoringKinds } from "./cluster/monitoring-kinds.ts";
import { clusterTest } from "./cluster/scenario.ts";

const charts = join(root, "charts");
const chart = join(charts, "mailboat");
/** Of values in ci/, and of the examples. */
const namespaces = [system, "mail-a", "mail-b", "monitoring", "mail", "saas", "staging"];

clusterTest("what users apply, on a real API server", { needs: "control-plane" }, async (t, cluster) => {
  await cluster.kubectl(["apply", "--server-side", "-f", join(root, "crds", "manifests")]);
  await cluster.apply([...monitoringKinds, ...namespaces.map(namespaceObject)]);
  await cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  for (const values of await readdir(join(chart, "ci")))
    await t.test(`helm template with ci/${values}`, async () => {
      const release = ["mailboat", chart, "--namespace", system, "--values", join(chart, "ci", values)];
      await taken(cluster, ["-f", "-"], await cluster.helm(["template", ...release]));
    });
  for (const folder of ["base", "nats", "monitoring"])
    await t.test(`kustomize/${folder}`, () => taken(cluster, ["-k", join(charts, "kustomize", folder)]));
  for (const file of ["mailboat.yaml", ...(await examples())])
    await t.test(file, () => taken(cluster, ["-f", join(charts, file)]));
  await t.test("the chart's NATS gets larger volumes as charts/README.md says", () => moreRoom(cluster));
});

/** Without the volumes themselves, which nobody makes here. */
async function moreRoom(cluster: Cluster): Promise<void> {
  const release = ["mailboat", chart, "--namespace", system];
  const nats = ["-n", system, "statefulset/mailboat-nats"];
  const sizeNow = async (): Promise<unknown> => {
    const { spec } = (await cluster.get(nats)) as {
      spec: { volumeClaimTemplates: [{ spec: { resources: { requests: { storage: string } } } }] };
    };
    return spec.volumeClaimTemplates[0].spec.resources.requests.storage;
  };
  await cluster.helm(["install", ...release, "--set", "crds.install=false"]);
  assert.equal(await sizeNow(), "32Gi");
  const larger = ["nats.storage.size=64Gi", "nats.storage.limit=58Gi"].flatMap((value) => ["--set", value]);
  const upgrade = ["upgrade", ...release, "--reuse-values", ...larger];
  await assert.rejects(cluster.helm(upgrade), /spec: Forbidden|field is immutable/);
  await cluster.kubectl(["delete", ...nats, "--cascade=orphan"]);
  await cluster.helm(upgrade);
  assert.equal(await sizeNow(), "64Gi");
  const config = await cluster.kubectl(["get", "-n", system, "configmap/mailboat-nats", "-o", "yaml"]);
  assert.match(config, /max_file_store: 58Gi/);
}

async function examples(): Promise<string[]> {
  return (await readdir(join(charts, "examples"))).map((file) => join("examples", file));
}

/** Every object; where a template's pods would be refused by the restricted profile, that is a warning. */
async function taken(cluster: Cluster, what: readonly string[], input?: string): Promise<void> {
  const apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
  await cluster.kubectl([...apply, ...what], input);
}
