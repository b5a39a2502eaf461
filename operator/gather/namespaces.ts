/**
 * Labels of namespaces, for pools that let tenants in by them. An API server knows all; files often leave a Namespace out, and
 * then what hangs on it is told rather than guessed. Pure.
 */
import { z } from "zod";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";

export type Labels = Readonly<Record<string, string>>;

/** The API server gives it to each namespace. */
const nameLabel = "kubernetes.io/metadata.name";

/** A kind of others: only what is read of it is looked at. */
const namespaceSchema = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Namespace"),
  metadata: z.looseObject({
    name: z.string().min(1).max(253),
    labels: z.record(z.string(), z.string()).nullish(),
  }),
});

export interface NamespaceLabels {
  readonly name: string;
  readonly labels: Labels;
}

export function parseNamespace(input: unknown): Parsed<NamespaceLabels> {
  const parsed = parseBy(namespaceSchema, input);
  if (!parsed.ok) return parsed;
  const { name, labels } = parsed.value.metadata;
  return { ok: true, value: { name, labels: { ...labels, [nameLabel]: name } } };
}

/** By name. One with two sets of labels (an overlay and its base) is not known: nobody here can tell which of them is in force. */
export function labelsByName(namespaces: readonly NamespaceLabels[]): Map<string, Labels> {
  const labels = new Map<string, Labels>();
  const unclear = new Set<string>();
  for (const one of namespaces) {
    const before = labels.get(one.name);
    if (before !== undefined && !areSame(before, one.labels)) unclear.add(one.name);
    labels.set(one.name, one.labels);
  }
  for (const name of unclear) labels.delete(name);
  return labels;
}

function areSame(a: Labels, b: Labels): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

/** A tenant that its pool lets in only if its namespace has labels that no file tells. */
export interface Unlabelled {
  readonly namespace: string;
  /** Those that are not known and would have to be there. */
  readonly wanted: Labels;
  /** With the tenant's source. */
  readonly issue: Issue & { readonly source: string };
}

/** @param snapshot of files, its `namespaces` those that they tell of */
export function unlabelledTenants({ tenants, pools, namespaces }: Snapshot): Unlabelled[] {
  const byIdentity = new Map(pools.map((pool) => [identityOf(pool.metadata), pool]));
  return tenants.flatMap(({ source, metadata: { namespace }, spec: { poolRef } }) => {
    const id = identityOf({ namespace: poolRef.namespace ?? namespace, name: poolRef.name });
    const pool = byIdentity.get(id);
    if (pool === undefined || pool.metadata.namespace === namespace || namespaces?.has(namespace) === true)
      return [];
    const wanted = wantedBeside(pool, namespace);
    if (wanted === undefined) return [];
    const expected = `a Namespace ${namespace} with its labels among the files, for the pool ${id} lets tenants in by them`;
    const got = "none, or several that differ";
    return [{ namespace, wanted, issue: { source, where: "spec.poolRef.namespace", expected, got } }];
  });
}

/** What the pool's selector asks for beside the name; undefined: nothing, or the name is another, so all is known. */
function wantedBeside({ spec }: Resource<SendingPoolSpec>, namespace: string): Labels | undefined {
  const { from, selector } = spec.allowedTenants ?? {};
  if (from !== "Selector") return undefined;
  const { [nameLabel]: name, ...wanted } = selector?.matchLabels ?? {};
  const isOther = name !== undefined && name !== namespace;
  return isOther || Object.keys(wanted).length === 0 ? undefined : wanted;
}

/**
 * With every tenant's namespace: one that no file tells of has its name as a label, and what is assumed. Where two pools want two
 * values of one label, the first has it: a namespace cannot have both.
 */
export function withLabels(snapshot: Snapshot, assumed: readonly Unlabelled[]): Snapshot {
  const others = new Map<string, Labels>();
  for (const { namespace, wanted } of assumed) others.set(namespace, { ...wanted, ...others.get(namespace) });
  const tenants = [...snapshot.tenants, ...(snapshot.draining?.tenants ?? [])];
  for (const { namespace } of tenants.map(({ metadata }) => metadata))
    others.set(namespace, { ...others.get(namespace), [nameLabel]: namespace });
  return { ...snapshot, namespaces: new Map([...others, ...(snapshot.namespaces ?? [])]) };
}
