/** What charts/ has for users to apply, shown to a real API server: it takes all of it, and warns of nothing. */
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
});

async function examples(): Promise<string[]> {
  return (await readdir(join(charts, "examples"))).map((file) => join("examples", file));
}

/** Every object; where a template's pods would be refused by the restricted profile, that is a warning. */
async function taken(cluster: Cluster, what: readonly string[], input?: string): Promise<void> {
  const apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
  await cluster.kubectl([...apply, ...what], input);
}
