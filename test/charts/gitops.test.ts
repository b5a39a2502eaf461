import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { valuesSchema } from "#charts/values.ts";
import { runValidate } from "#operator/cli/validate.ts";

const root = join(import.meta.dirname, "../..");
const gitops = join(root, "charts/gitops");

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>>;
}

function manifests(tree: string): Manifest[] {
  return globSync(`${tree}/**/*.yaml`, { cwd: gitops })
    .filter((file) => !file.endsWith("argocd-cm.yaml"))
    .flatMap((file) => {
      const parsed = [...parseAllDocuments(readFileSync(join(gitops, file), "utf8"))];
      assert.deepEqual(
        parsed.flatMap(({ errors }) => errors),
        [],
        file,
      );
      return parsed.map((one) => one.toJS() as Manifest);
    });
}

function at(value: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
}

const waveOf = ({ metadata }: Manifest): number =>
  Number(metadata.annotations?.["argocd.argoproj.io/sync-wave"] ?? "0");

describe("charts/gitops", () => {
  for (const tree of ["argo", "flux"])
    test(`${tree}/mail is valid but for its Secrets, which are not in Git`, async () => {
      const lines: string[] = [];
      const code = await runValidate({
        files: [join(gitops, tree, "mail")],
        json: false,
        withoutSecrets: true,
        out: (line) => lines.push(line),
      });
      assert.equal(code, 0, lines.join("\n"));
    });

  test("Argo CD: the operator before the mail, shapes before pools before tenants", () => {
    const all = manifests("argo");
    const wave = (kind: string, name?: string): number => {
      const found = all.find(
        (one) => one.kind === kind && (name === undefined || one.metadata.name === name),
      );
      assert.ok(found !== undefined, kind);
      return waveOf(found);
    };
    assert.ok(wave("Application", "mailboat") < wave("Application", "mail"));
    assert.ok(wave("TrafficShape") < wave("SendingPool"));
    assert.ok(wave("SendingPool") < wave("Tenant"));
    for (const one of all.filter(
      ({ kind, metadata }) => kind === "Application" && metadata.name !== "mailboat-root",
    ))
      assert.ok((at(one.spec, "syncPolicy", "syncOptions") as string[]).includes("ServerSideApply=true"));
  });

  test("the paths that they name exist, and the values are the chart's", () => {
    const paths = [...manifests("argo"), ...manifests("flux")].flatMap(({ spec }) => [
      at(spec, "source", "path"),
      at(spec, "path"),
      at(spec, "chart", "spec", "chart"),
    ]);
    const named = paths.filter((path) => typeof path === "string");
    assert.ok(named.length >= 6);
    for (const path of named) assert.ok(existsSync(join(root, path)), path);
    const values = [...manifests("argo"), ...manifests("flux")].flatMap(({ spec }) => [
      at(spec, "source", "helm", "valuesObject"),
      at(spec, "values"),
    ]);
    const given = values.filter((one) => one !== undefined);
    assert.equal(given.length, 2);
    for (const one of given) valuesSchema.parse(one);
  });

  test("an autoscaled pool has no replicas in Git", () => {
    for (const { kind, spec } of [...manifests("argo"), ...manifests("flux")])
      if (kind === "SendingPool" && spec["autoscaling"] !== undefined)
        assert.equal(spec["replicas"], undefined);
  });
});
