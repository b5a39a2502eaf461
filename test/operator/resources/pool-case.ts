/** YAML of resources → the objects of their pools, as the operator comes to them. */
import { compile } from "#operator/compile/compile.ts";
import { poolFiles } from "#operator/compile/files.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import { formatIssue } from "#crds/values/issue.ts";
import type { KubeObject } from "#operator/resources/object.ts";
import { buildPool } from "#operator/resources/pool.ts";
import type { PoolInput } from "#operator/resources/pool.ts";

type Settings = Partial<Omit<PoolInput, "pool" | "files">> & { readonly generation?: number };

/** Of all pools in the text, one after another. */
export function poolObjects(yaml: string, settings: Settings = {}): KubeObject[] {
  const { documents, issues } = documentsOf("in.yaml", yaml);
  const gathered = gatherResources(documents);
  const texts = [...issues, ...gathered.issues].map(formatIssue);
  if (texts.length > 0) throw new Error(texts.join("\n"));
  const { generation = 7, ...rest } = settings;
  const compiled = new Map(
    compile(gathered.snapshot, { generation }).pools.map((pool) => [pool.pool, poolFiles(pool)]),
  );
  return gathered.snapshot.pools.flatMap((pool) =>
    buildPool({
      image: "mailboat-pod:1",
      adminToken: "0123456789abcdef0123456789abcdef",
      hasPodMonitors: true,
      ...rest,
      pool,
      files: compiled.get(identityOf(pool.metadata)),
    }),
  );
}

export function objectOf(objects: readonly KubeObject[], kind: string, name: string): KubeObject {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}

/** The value at a path such as "spec.template.spec"; undefined when there is none. */
export function at(value: unknown, path: string): unknown {
  let found = value;
  for (const step of path.split("."))
    found = typeof found === "object" && found !== null ? Reflect.get(found, step) : undefined;
  return found;
}
