/** The CustomResourceDefinitions on a real API server: every CEL rule, column, scale and text that a person or program meets. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { parse } from "yaml";
import { kinds, sendingPoolSchema, tenantSchema, trafficShapeSchema } from "#crds/api/v1alpha1/kinds.ts";
import { until } from "#test/kit/until.ts";
import { type Api, openApi } from "./cluster/api.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { cellsOf } from "./cluster/columns.ts";
import { root } from "./cluster/images/images.ts";
import { clusterTest } from "./cluster/scenario.ts";
import { caseFor, celCases, extras } from "./cluster/schemas/cel-cases.ts";
import { rulesOf, sample, sampleWith, type Schema } from "./cluster/schemas/samples.ts";

const group = "/apis/mailboat.dev/v1alpha1/namespaces/default";
const manifests = join(root, "crds", "manifests");
const validators = { SendingPool: sendingPoolSchema, Tenant: tenantSchema, TrafficShape: trafficShapeSchema };

clusterTest("the CRDs on a real API server", { needs: "control-plane" }, async (t, cluster) => {
  await cluster.kubectl(["apply", "--server-side", "-f", manifests]);
  await cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  using api = openApi(cluster);
  await poolToScale(api, "autoscaled");
  await autoscale(cluster, 6, 9);
  await t.test("no definition has a condition that says it is not structural", () => noComplaint(cluster));
  await t.test("every CEL rule lets the good through and refuses the bad", (t) => celRules(t, api));
  await t.test("every printer column shows what its path says", () => printerColumns(cluster, api));
  await t.test("kubectl scale changes a pool by its scale subresource", () => scale(cluster, api));
  await t.test("kubectl explain tells about every field", () => explain(cluster));
  await t.test("short names and the category", () => names(cluster));
  await t.test("an HPA drives a pool by the same subresource", () => autoscaled(cluster, api));
});

async function schemaOf(plural: string): Promise<Schema> {
  const text = await readFile(join(manifests, `${plural}.yaml`), "utf8");
  const definition = parse(text) as { spec: { versions: [{ schema: { openAPIV3Schema: Schema } }] } };
  return definition.spec.versions[0].schema.openAPIV3Schema;
}

type Fields = Record<string, unknown>;

function objectOf(kind: string, fields: unknown, name = "sample"): Fields {
  const { metadata, ...rest } = fields as Fields & { metadata?: Fields };
  return { apiVersion: "mailboat.dev/v1alpha1", kind, ...rest, metadata: { name, ...metadata } };
}

async function noComplaint(cluster: Cluster): Promise<void> {
  const { items } = (await cluster.get(["crd"])) as {
    items: { status: { conditions: { type: string; status: string }[] } }[];
  };
  assert.equal(items.length, kinds.length);
  for (const { status } of items)
    assert.deepEqual(
      status.conditions.filter((one) => one.type === "NonStructuralSchema"),
      [],
    );
}

async function celRules(t: TestContext, api: Api): Promise<void> {
  const used = new Set<unknown>();
  let asked = 0;
  for (const { kind, plural } of kinds) {
    const schema = await schemaOf(plural);
    for (const rule of rulesOf(schema)) {
      const found = caseFor(kind, rule);
      assert.ok(
        found !== undefined,
        `no case for ${kind} ${rule.path}: "${rule.message}": add it to cel-cases.ts`,
      );
      used.add(found);
      for (const [values, isGood] of [
        [found.accepted, true],
        [found.refused, false],
      ] as const) {
        assert.ok(values.length > 0, `${kind} ${rule.path}: expected values on both sides`);
        for (const value of values) {
          const at = `${kind} ${rule.path} = ${JSON.stringify(value)}`;
          const object = objectOf(kind, sampleWith(schema, extras[kind] ?? {}, rule.path, value));
          const before =
            found.before === undefined
              ? undefined
              : objectOf(kind, sampleWith(schema, extras[kind] ?? {}, rule.path, found.before));
          const { status, body } = await judged(api, plural, object, before);
          asked++;
          assert.equal(status < 300, isGood, `${at}: ${status} ${String(body["message"])}`);
          if (!isGood)
            assert.ok(String(body["message"]).includes(rule.message), `${at}: ${String(body["message"])}`);
          // What the server alone can know is the old object; all else `mailboat validate` says, too.
          if (found.before === undefined)
            assert.equal(validators[kind].safeParse(object).success, isGood, `${at}: mailboat validate`);
        }
      }
    }
  }
  const unused = celCases.filter((one) => !used.has(one));
  assert.deepEqual(unused, [], "cases of rules that are gone");
  t.diagnostic(`${used.size} rules, ${asked} values`);
}

/** What the API server says to it, as a new object or in place of `before`; nothing is left behind. */
async function judged(
  api: Api,
  plural: string,
  object: Fields,
  before: Fields | undefined,
): ReturnType<Api["ask"]> {
  const dry = "?dryRun=All&fieldValidation=Strict";
  if (before === undefined) return api.ask("POST", `${group}/${plural}${dry}`, object);
  const { status, body } = await api.ask("POST", `${group}/${plural}`, before);
  assert.equal(status, 201, String(body["message"]));
  const path = `${group}/${plural}/sample`;
  const answer = await api.ask("PUT", `${path}${dry}`, { ...object, metadata: body["metadata"] });
  await api.ask("DELETE", path);
  return answer;
}

async function printerColumns(cluster: Cluster, api: Api): Promise<void> {
  for (const { kind, plural, columns } of kinds) {
    const schema = await schemaOf(plural);
    const object = objectOf(kind, sample(schema, extras[kind] ?? {}), "columns");
    assert.equal((await api.ask("POST", `${group}/${plural}`, object)).status, 201);
    const status = fullStatus(schema.properties?.["status"] ?? { type: "object" }, `${kind}.status`);
    const patched = await api.ask("PATCH", `${group}/${plural}/columns/status`, { status });
    assert.equal(patched.status, 200, String(patched.body["message"]));
    const [head = "", row = ""] = (await cluster.kubectl(["get", plural, "columns", "-o", "wide"])).split(
      "\n",
    );
    const cells = cellsOf(head, row);
    assert.deepEqual(Object.keys(cells), ["NAME", ...columns.map(({ name }) => name.toUpperCase())]);
    for (const { name, type, jsonPath } of columns) {
      const expected = valueAt(patched.body, jsonPath);
      assert.notEqual(expected, undefined, `${kind} ${jsonPath} is nowhere in a whole object`);
      const cell = cells[name.toUpperCase()] ?? "";
      if (type === "date") assert.match(cell, /^\d+[smhd]/, `${kind} ${name}`);
      else assert.equal(cell, String(expected), `${kind} ${name}`);
    }
    await api.ask("DELETE", `${group}/${plural}/columns`);
  }
}

/** Every field of a status, the optional ones too; each condition once. */
function fullStatus(schema: Schema, path: string): unknown {
  if (path.endsWith(".conditions"))
    return ["Accepted", "ResolvedRefs", "Programmed", "Ready", "Moving"].map((type) => ({
      type,
      status: "True",
      reason: `${type}Reason`,
      message: "all is well",
      observedGeneration: 1,
      lastTransitionTime: new Date().toISOString(),
    }));
  if (schema.type === "object" && schema.properties !== undefined)
    return Object.fromEntries(
      Object.entries(schema.properties).map(([name, one]) => [name, fullStatus(one, `${path}.${name}`)]),
    );
  if (schema.type === "array" && schema.items !== undefined) return [fullStatus(schema.items, `${path}[]`)];
  return sample(schema, {}, path);
}

/** Of the JSONPath that columns are written in: names, and one condition by its type. */
function valueAt(object: unknown, path: string): unknown {
  const steps = path.match(/\[\?\(@\.type=="\w+"\)\]|[^.[\]]+/g) ?? [];
  return steps.reduce<unknown>((value, step) => {
    const type = /=="(\w+)"/.exec(step)?.[1];
    if (type !== undefined) return (value as Fields[]).find((one) => one["type"] === type);
    return (value as Fields | undefined)?.[step];
  }, object);
}

async function poolToScale(api: Api, name: string): Promise<void> {
  const object = objectOf(
    "SendingPool",
    sampleWith(await schemaOf("sendingpools"), {}, "spec.replicas", 1),
    name,
  );
  assert.equal((await api.ask("POST", `${group}/sendingpools`, object)).status, 201);
  const status = { replicas: 1, selector: `app.kubernetes.io/instance=${name}` };
  await api.ask("PATCH", `${group}/sendingpools/${name}/status`, { status });
}

async function scale(cluster: Cluster, api: Api): Promise<void> {
  await poolToScale(api, "scaled");
  await cluster.kubectl(["scale", "sendingpool/scaled", "--replicas=4"]);
  const { body } = await api.ask("GET", `${group}/sendingpools/scaled/scale`);
  const selector = "app.kubernetes.io/instance=scaled";
  assert.deepEqual(
    { spec: body["spec"], status: body["status"] },
    { spec: { replicas: 4 }, status: { replicas: 1, selector } },
  );
}

/** An HPA's bounds need no metrics, and are written by the very same way. */
async function autoscale(cluster: Cluster, minReplicas: number, maxReplicas: number): Promise<void> {
  const target = { type: "Utilization", averageUtilization: 80 };
  await cluster.apply([
    {
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: { name: "autoscaled", namespace: "default" },
      spec: {
        scaleTargetRef: { apiVersion: "mailboat.dev/v1alpha1", kind: "SendingPool", name: "autoscaled" },
        minReplicas,
        maxReplicas,
        metrics: [{ type: "Resource", resource: { name: "cpu", target } }],
      },
    },
  ]);
}

async function autoscaled(cluster: Cluster, api: Api): Promise<void> {
  const path = `${group}/sendingpools/autoscaled`;
  const replicas = async (): Promise<unknown> => valueAt((await api.ask("GET", path)).body, ".spec.replicas");
  // The controller learns of new kinds every 30 s, and when it starts.
  await cluster.restart("kube-controller-manager");
  await until("the HPA to raise the pool to its least", async () => (await replicas()) === 6, 60_000);
  await autoscale(cluster, 1, 3);
  await until("the HPA to lower the pool to its most", async () => (await replicas()) === 3, 30_000);
}

async function explain(cluster: Cluster): Promise<void> {
  for (const { plural, kind, description } of kinds) {
    const schema = await schemaOf(plural);
    const told = await cluster.kubectl(["explain", plural]);
    assert.ok(told.replaceAll(/\s+/g, " ").includes(description), `${kind}: ${told}`);
    const fields = new Set(
      (await cluster.kubectl(["explain", plural, "--recursive"])).match(/^\s+(\S+)\t/gm),
    );
    const shown = new Set([...fields].map((line) => line.trim()));
    for (const [path, one] of fieldsOf(schema)) {
      assert.ok(shown.has(path.split(".").at(-1) ?? ""), `${kind} ${path} is not in kubectl explain`);
      if (path.startsWith("spec."))
        assert.ok((one.description ?? "") !== "", `${kind} ${path} has no description`);
    }
  }
}

function fieldsOf(schema: Schema, path = ""): [string, Schema][] {
  const own = Object.entries(schema.properties ?? schema.items?.properties ?? {});
  return own.flatMap(([name, one]) => {
    const at = path === "" ? name : `${path}.${name}`;
    return [[at, one] as [string, Schema], ...fieldsOf(one, at)];
  });
}

async function names(cluster: Cluster): Promise<void> {
  for (const { shortName } of kinds) await cluster.kubectl(["get", shortName]);
  const all = await cluster.kubectl(["api-resources", "--categories=mailboat", "--no-headers", "-o", "name"]);
  assert.deepEqual(
    all.trim().split("\n").toSorted(),
    kinds.map(({ plural }) => `${plural}.mailboat.dev`).toSorted(),
  );
}
