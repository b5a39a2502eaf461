import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { driftedFiles } from "#charts/generate.ts";
import { renderedFiles, staleRenderings } from "#charts/rendered.ts";
import { compile } from "#operator/compile/compile.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { programFor } from "#test/kit/programs.ts";

const root = join(import.meta.dirname, "../..");
const charts = join(root, "charts");
const chart = join(charts, "mailboat");
const valuesFiles = readdirSync(join(chart, "ci"));

interface Container {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly securityContext: Readonly<Record<string, unknown>>;
}

interface PodSpec {
  readonly serviceAccountName?: string;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly Container[];
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: object };
  readonly spec: { readonly template?: { readonly spec: PodSpec }; readonly replicas?: number } & PodSpec;
  readonly rules?: readonly Rule[];
  readonly data?: Readonly<Record<string, string>>;
}

function render(helm: string, args: readonly string[]): Rendered[] {
  const text = execFileSync(helm, ["template", "mailboat", chart, "--namespace", "system", ...args], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  return documents(text);
}

function documents(text: string): Rendered[] {
  const parsed = [...parseAllDocuments(text)];
  assert.deepEqual(
    parsed.flatMap(({ errors }) => errors),
    [],
  );
  return parsed.map((one) => one.toJS() as Rendered).filter((one) => one !== null);
}

function withValues(helm: string, file: string): Rendered[] {
  return render(helm, ["--values", join(chart, "ci", file)]);
}

const byKind = (objects: readonly Rendered[], kind: string): Rendered[] =>
  objects.filter((one) => one.kind === kind);

function podSpecs(objects: readonly Rendered[]): PodSpec[] {
  return objects.flatMap((one) => {
    if (one.kind === "Pod") return [one.spec];
    return one.spec?.template === undefined ? [] : [one.spec.template.spec];
  });
}

/** `group/resource verb`, each with the names it is limited to. */
function rights(rules: readonly Rule[] = []): string[] {
  return rules
    .flatMap(({ apiGroups, resources, verbs, resourceNames }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.map(
            (verb) => `${group}/${resource} ${verb}${resourceNames === undefined ? "" : ` ${resourceNames}`}`,
          ),
        ),
      ),
    )
    .toSorted();
}

/** Rows of operator/README.md's table of rights that hold in `where`. */
function documentedRights(where: string): string[] {
  return readFileSync(join(root, "operator/README.md"), "utf8")
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter(([, scope, , , verbs]) => scope === where && verbs !== undefined)
    .flatMap(([, , group = "", resources = "", verbs = ""]) =>
      resources
        .split(", ")
        .flatMap((resource) =>
          verbs.split(", ").map((verb) => `${group === "core" ? "" : group}/${resource} ${verb}`),
        ),
    )
    .toSorted();
}

const helmFor = (context: TestContext): string | undefined => programFor(context, "helm");

describe("charts/", () => {
  test("what is generated is fresh", () => {
    assert.deepEqual([...driftedFiles(charts), ...staleRenderings(charts)], []);
  });

  test("what helm renders for those without Helm is what it renders now", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    for (const [file, text] of renderedFiles(charts, helm))
      assert.equal(readFileSync(join(charts, file), "utf8"), text, file);
  });

  test("the kustomizations build, and the plain YAML is the base with NATS", (context) => {
    const kubectl = programFor(context, "kubectl");
    if (kubectl === undefined) return;
    const build = (folder: string): Rendered[] =>
      documents(
        execFileSync(kubectl, ["kustomize", join(charts, "kustomize", folder)], {
          encoding: "utf8",
          maxBuffer: 64 * 1024 * 1024,
        }),
      );
    const names = (objects: readonly Rendered[]): string[] =>
      objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`).toSorted();
    const plain = documents(readFileSync(join(charts, "mailboat.yaml"), "utf8"));
    assert.deepEqual(names(plain), names([...build("base"), ...build("nats")]));
    assert.ok(names(build("monitoring")).includes("PrometheusRule mailboat"));
    assert.doesNotMatch(readFileSync(join(charts, "mailboat.yaml"), "utf8"), /Helm|helm\.sh/);
  });

  test("the chart's version is the package's", () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    const yaml = parse(readFileSync(join(chart, "Chart.yaml"), "utf8")) as Record<string, string>;
    assert.deepEqual([yaml["version"], yaml["appVersion"]], [version, version]);
  });
});

describe("the chart", () => {
  for (const file of valuesFiles)
    test(`renders ci/${file}: whole objects, each pod under the Restricted profile`, (context) => {
      const helm = helmFor(context);
      if (helm === undefined) return;
      const objects = withValues(helm, file);
      for (const { apiVersion, kind, metadata } of objects)
        assert.ok(apiVersion !== "" && kind !== "" && metadata.name !== "", JSON.stringify(metadata));
      const names = objects.map(
        ({ kind, metadata: { namespace = "", name } }) => `${kind} ${namespace}/${name}`,
      );
      assert.equal(new Set(names).size, names.length, "no object twice");
      const pods = podSpecs(objects);
      assert.ok(pods.length >= 2);
      for (const { securityContext, containers } of pods) {
        assert.equal(securityContext["runAsNonRoot"], true);
        assert.deepEqual(securityContext["seccompProfile"], { type: "RuntimeDefault" });
        for (const container of containers)
          assert.deepEqual(container.securityContext, {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          });
      }
    });

  test("has the very CRDs of crds/manifests, kept on uninstall; or none", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const crds = byKind(render(helm, []), "CustomResourceDefinition");
    const manifests = join(root, "crds/manifests");
    const expected = readdirSync(manifests).map(
      (name) => parse(readFileSync(join(manifests, name), "utf8")) as Rendered,
    );
    const specs = (all: readonly Rendered[]): object =>
      Object.fromEntries(all.map(({ metadata, spec }) => [metadata.name, spec]));
    assert.deepEqual(specs(crds), specs(expected));
    for (const { metadata } of crds)
      assert.equal(Reflect.get(metadata, "annotations")?.["helm.sh/resource-policy"], "keep");
    assert.deepEqual(byKind(render(helm, ["--set", "crds.install=false"]), "CustomResourceDefinition"), []);
  });

  test("gives the operator what operator/README.md says, no verb more, cluster-wide or in its namespaces", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const wide = render(helm, []);
    const [operator] = byKind(wide, "ClusterRole").filter(({ metadata }) =>
      metadata.name.endsWith("operator"),
    );
    assert.deepEqual(
      rights(operator?.rules),
      [...documentedRights("w"), ...documentedRights("cluster-wide only")].toSorted(),
    );
    const [leader] = byKind(wide, "Role");
    assert.equal(leader?.metadata.namespace, "system");
    assert.deepEqual(
      rights(leader?.rules).map((right) => right.replace(" mailboat-operator", "")),
      documentedRights("own"),
    );
    const narrow = withValues(helm, "namespaces-values.yaml");
    assert.deepEqual(byKind(narrow, "ClusterRole"), []);
    assert.deepEqual(byKind(narrow, "ClusterRoleBinding"), []);
    const roles = byKind(narrow, "Role").filter(({ metadata }) => !metadata.name.endsWith("-leader"));
    assert.deepEqual(
      roles.map(({ metadata }) => metadata.namespace),
      ["mail-a", "mail-b"],
    );
    for (const role of roles) assert.deepEqual(rights(role.rules), documentedRights("w"));
  });

  test("tells the operator its namespaces and the pods' image", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const container = (file: string): Container | undefined =>
      byKind(withValues(helm, file), "Deployment")[0]?.spec.template?.spec.containers[0];
    const args = container("namespaces-values.yaml")?.args ?? [];
    assert.ok(args.includes("--watch-namespace=mail-a") && args.includes("--watch-namespace=mail-b"));
    const env = container("everything-values.yaml")?.env ?? [];
    assert.equal(
      env.find(({ name }) => name === "MAILBOAT_POD_IMAGE")?.value,
      "registry.example.net/mailboat/mailboat-pod:0.1.0-test",
    );
  });

  test("before an uninstall frees the tenants of its own namespaces, with the operator's account and no other rights", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const jobs = (...args: string[]): Rendered[] => byKind(render(helm, args), "Job");
    const [job] = byKind(withValues(helm, "namespaces-values.yaml"), "Job");
    assert.equal(Reflect.get(job?.metadata ?? {}, "annotations")?.["helm.sh/hook"], "pre-delete");
    const pod = job?.spec.template?.spec;
    assert.deepEqual(pod?.containers[0]?.args, [
      "operator",
      "--release",
      "--watch-namespace=mail-a",
      "--watch-namespace=mail-b",
    ]);
    const operator = byKind(withValues(helm, "namespaces-values.yaml"), "Deployment")[0]?.spec.template?.spec;
    assert.equal(pod?.serviceAccountName, operator?.serviceAccountName);
    assert.deepEqual(jobs("--set", "uninstall.releaseTenants=false"), []);
    assert.deepEqual(jobs("--set", "operator.replicas=0"), [], "an operator that is another release's");
  });

  test("keeps one server's mail on its disk, and three servers' where they say so", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const config = (args: readonly string[]): string =>
      byKind(render(helm, args), "ConfigMap").find(({ metadata }) => metadata.name === "mailboat-nats")
        ?.data?.["nats.conf"] ?? "";
    assert.match(config(["--set", "nats.replicas=1"]), /sync_interval: always/);
    assert.doesNotMatch(config(["--set", "nats.replicas=1"]), /cluster/);
    assert.doesNotMatch(config([]), /sync_interval/);
    assert.equal(config([]).match(/nats:\/\/mailboat-nats-\d/g)?.length, 3);
    assert.match(config(["--set", "nats.syncAlways=true"]), /sync_interval: always/);
    assert.doesNotMatch(
      config(["--set", "nats.replicas=1", "--set", "nats.syncAlways=false"]),
      /sync_interval/,
    );
  });

  test("writes a nats.conf that nats-server takes", async (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const { path } = await findNatsServer({ env: process.env, onFetch: () => undefined });
    const folder = mkdtempSync(join(tmpdir(), "mailboat-chart-"));
    try {
      for (const value of ["nats.replicas=1", "nats.replicas=3", "nats.tokenSecret=t"]) {
        const file = join(folder, `${value}.conf`);
        const [map] = byKind(render(helm, ["--set", value]), "ConfigMap");
        writeFileSync(file, map?.data?.["nats.conf"] ?? "");
        const env = { ...process.env, POD_NAME: "mailboat-nats-0", NATS_TOKEN: "a1B2c3" };
        const { status, stderr } = spawnSync(path, ["-t", "--config", file], { encoding: "utf8", env });
        assert.equal(status, 0, stderr);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("restarts NATS for its settings, not for a new version of the chart", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const template = (args: readonly string[]): string =>
      JSON.stringify(byKind(render(helm, args), "StatefulSet")[0]?.spec.template);
    assert.doesNotMatch(template([]), /"0\.1\.0"|mailboat-0\.1\.0/);
    assert.notEqual(template([]), template(["--set", "nats.storage.limit=20Gi"]));
  });

  test("refuses values that it does not know, and those of another kind", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    for (const value of [
      "operator.replica=2",
      "nats.replicas=2",
      "crds.install=perhaps",
      "image.pullPolicy=Now",
    ]) {
      const { status, stderr } = spawnSync(helm, ["template", "mailboat", chart, "--set", value], {
        encoding: "utf8",
      });
      assert.notEqual(status, 0, value);
      assert.match(stderr, /values don't meet the specifications of the schema/, value);
    }
  });

  test("tells the operator which labels the PodMonitors of pools are to have", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const operatorArgs = (objects: readonly Rendered[]): unknown =>
      podSpecs(byKind(objects, "Deployment"))[0]?.containers[0]?.args;
    const wanted = ["--pod-monitor-label=example.net/team=mail", "--pod-monitor-label=release=prometheus"];
    const given = operatorArgs(withValues(helm, "everything-values.yaml"));
    assert.ok(Array.isArray(given));
    assert.deepEqual(
      given.filter((one) => String(one).startsWith("--pod-monitor")),
      wanted,
    );
    assert.doesNotMatch(JSON.stringify(operatorArgs(render(helm, []))), /pod-monitor/);
  });

  test("gives alerts the URL of their runbooks, dashboards the label of Grafana's sidecar", (context) => {
    const helm = helmFor(context);
    if (helm === undefined) return;
    const objects = withValues(helm, "everything-values.yaml");
    const rules = JSON.stringify(byKind(objects, "PrometheusRule")[0]);
    assert.match(rules, /"runbook_url":"https:\/\/runbooks\.example\.net\/mailboat\/MailboatStoreFull\.md"/);
    assert.doesNotMatch(rules, /charts\/runbooks/);
    const dashboards = byKind(objects, "ConfigMap").filter(({ metadata }) =>
      Object.hasOwn(metadata.labels ?? {}, "grafana_dashboard"),
    );
    assert.equal(dashboards.length, 3);
    for (const { data = {}, metadata } of dashboards) {
      assert.equal(metadata.namespace, "monitoring");
      for (const text of Object.values(data)) assert.equal(typeof JSON.parse(text), "object");
    }
  });

  for (const file of valuesFiles)
    test(`prints notes whose resources can be applied: ci/${file}`, (context) => {
      const helm = helmFor(context);
      if (helm === undefined) return;
      const args = ["install", "mailboat", chart, "--dry-run=client", "--namespace", "system"];
      const text = execFileSync(helm, [...args, "--values", join(chart, "ci", file)], {
        encoding: "utf8",
        maxBuffer: 64 * 1024 * 1024,
      });
      const notes = text.slice(text.indexOf("\nNOTES:"));
      assert.equal(notes.match(/^ {5}(helm test|kubectl (apply|wait))/gm)?.length, 3, "three next commands");
      const yaml = /<<'EOF'\n([^]*?)\n {5}EOF/.exec(notes)?.[1]?.replaceAll(/^ {5}/gm, "") ?? "";
      const gathered = gatherResources(documentsOf("NOTES.txt", yaml.replace("YOUR-NATS", "nats")).documents);
      assert.deepEqual(gathered.issues, []);
      // The token's Secret is the user's to copy.
      const issues = compile(gathered.snapshot, { generation: 1 }).issues;
      assert.deepEqual(
        issues.filter(({ got }) => got !== "no such Secret" || !file.startsWith("everything")),
        [],
      );
      assert.equal(gathered.snapshot.tenants.length, 1);
    });
});
