/** Documents → a Snapshot: each parsed by its kind, sorted, duplicates refused. Pure; what cannot be used is an issue. */
import { sendingPoolSchema, tenantSchema, trafficShapeSchema } from "#crds/api/v1alpha1/kinds.ts";
import { apiVersion, group, identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Metadata } from "#crds/api/v1alpha1/metadata.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource, SecretResource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import type { TrafficShapeSpec } from "#crds/api/v1alpha1/traffic-shape.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { describe, parseBy } from "#crds/values/zod-issue.ts";
import type { SourceDocument } from "./documents.ts";
import { labelsByName, type NamespaceLabels, parseNamespace } from "./namespaces.ts";
import { parseSecret } from "./secret.ts";

export interface Gathered {
  readonly snapshot: Snapshot;
  readonly issues: readonly Issue[];
}

const ownKinds = new Set(["SendingPool", "TrafficShape", "Tenant", "Secret", "List"]);
const expectedKind = `SendingPool, TrafficShape or Tenant of ${apiVersion}, or Secret or Namespace of v1`;

/** Of another API than ours, as far as it says: neither a kind of this product, nor one that is misspelt, nor what we read of others. */
export function isForeign(value: unknown): boolean {
  const [version, kind] = [field(value, "apiVersion"), field(value, "kind")];
  if (typeof version !== "string" || typeof kind !== "string") return false;
  const isNamespace = version === "v1" && kind === "Namespace";
  return !version.startsWith(`${group}/`) && !ownKinds.has(kind) && !isNamespace;
}

interface Gathering {
  readonly once: Once;
  readonly pools: Map<string, Resource<SendingPoolSpec>>;
  readonly shapes: Map<string, Resource<TrafficShapeSpec>>;
  readonly tenants: Map<string, Resource<TenantSpec>>;
  readonly secrets: Map<string, SecretResource>;
  readonly namespaces: NamespaceLabels[];
  readonly issues: Issue[];
}

/** Once, as `createGatherer()` does. */
export function gatherResources(documents: readonly SourceDocument[]): Gathered {
  return createGatherer()(documents);
}

/** A document that was given before, itself, gives the same resource again: the compiler knows it by that. */
export function createGatherer(): (documents: readonly SourceDocument[]) => Gathered {
  const once = createOnce();
  return (documents) => gatherWith(documents, once);
}

/** Answers what was read of a value before, as long as it has the same source. */
type Once = <Read>(value: unknown, source: string, read: () => Read) => Read;

function createOnce(): Once {
  const known = new WeakMap<object, { readonly source: string; readonly read: unknown }>();
  return <Read>(value: unknown, source: string, read: () => Read): Read => {
    if (typeof value !== "object" || value === null) return read();
    const before = known.get(value);
    // A value is read by its kind, which stands in it: always as the same type.
    if (before?.source === source) return before.read as Read;
    const made = read();
    known.set(value, { source, read: made });
    return made;
  };
}

function gatherWith(documents: readonly SourceDocument[], once: Once): Gathered {
  const gathering: Gathering = {
    once,
    pools: new Map(),
    shapes: new Map(),
    tenants: new Map(),
    secrets: new Map(),
    namespaces: [],
    issues: [],
  };
  for (const document of documents) gatherDocument(document, gathering);
  const { pools, shapes, tenants, secrets, namespaces, issues } = gathering;
  const snapshot = {
    pools: sorted(pools),
    shapes: sorted(shapes),
    tenants: sorted(tenants),
    secrets: sorted(secrets),
    namespaces: labelsByName(namespaces),
  };
  return { snapshot, issues };
}

function gatherDocument({ source, value }: SourceDocument, to: Gathering): void {
  if (field(value, "kind") === "List") {
    gatherList({ source, value }, to);
    return;
  }
  const named = `${source}${nameOf(value)}`;
  const { once } = to;
  switch (field(value, "kind")) {
    case "SendingPool":
      keep(
        named,
        once(value, named, () => resource(parseBy(sendingPoolSchema, value), named)),
        to.pools,
        to.issues,
      );
      break;
    case "TrafficShape":
      keep(
        named,
        once(value, named, () => resource(parseBy(trafficShapeSchema, value), named)),
        to.shapes,
        to.issues,
      );
      break;
    case "Tenant":
      keep(
        named,
        once(value, named, () => resource(parseBy(tenantSchema, value), named)),
        to.tenants,
        to.issues,
      );
      break;
    case "Secret":
      keep(
        named,
        once(value, named, () => parseSecret(value, named)),
        to.secrets,
        to.issues,
      );
      break;
    case "Namespace": {
      const parsed = once(value, named, () => parseNamespace(value));
      if (parsed.ok) to.namespaces.push(parsed.value);
      else to.issues.push(...parsed.issues.map((issue) => ({ ...issue, source: named })));
      break;
    }
    default:
      to.issues.push({
        source: named,
        where: "kind",
        expected: expectedKind,
        got: describe(field(value, "kind")),
      });
  }
}

/** What `kubectl get -o yaml` prints. Lists do not nest. */
function gatherList({ source, value }: SourceDocument, to: Gathering): void {
  const items = field(value, "items");
  if (!Array.isArray(items)) {
    to.issues.push({ source: `${source} List`, where: "items", expected: "a list", got: describe(items) });
    return;
  }
  for (const [index, item] of items.entries()) {
    const at = `${source} items[${index}]`;
    if (field(item, "kind") === "List")
      to.issues.push({ source: at, where: "kind", expected: expectedKind, got: "a List inside a List" });
    else gatherDocument({ source: at, value: item }, to);
  }
}

function resource<Spec>(
  parsed: Parsed<{ metadata: Metadata; spec: Spec }>,
  source: string,
): Parsed<Resource<Spec>> {
  if (!parsed.ok) return parsed;
  return { ok: true, value: { source, metadata: parsed.value.metadata, spec: parsed.value.spec } };
}

function keep<Item extends { source: string; metadata: Metadata }>(
  source: string,
  parsed: Parsed<Item>,
  items: Map<string, Item>,
  issues: Issue[],
): void {
  if (!parsed.ok) {
    issues.push(...parsed.issues.map((issue) => ({ ...issue, source })));
    return;
  }
  const identity = identityOf(parsed.value.metadata);
  const first = items.get(identity);
  if (first === undefined) items.set(identity, parsed.value);
  else
    issues.push({
      source,
      where: "metadata.name",
      expected: "a resource that was not given before",
      got: `the one of ${first.source} again`,
    });
}

/** By namespace, then name: the order of the text decides nothing. */
function sorted<Item extends { metadata: Metadata }>(items: ReadonlyMap<string, Item>): Item[] {
  return [...items.values()].sort((a, b) => {
    const [left, right] = [identityOf(a.metadata), identityOf(b.metadata)];
    return left < right ? -1 : left > right ? 1 : 0;
  });
}

/** ` Kind namespace/name` as far as the document says it; never its content. */
function nameOf(value: unknown): string {
  const kind = field(value, "kind");
  const name = field(field(value, "metadata"), "name");
  const namespace = field(field(value, "metadata"), "namespace");
  if (typeof kind !== "string") return "";
  if (typeof name !== "string") return ` ${kind.slice(0, 63)}`;
  return ` ${kind.slice(0, 63)} ${typeof namespace === "string" ? namespace.slice(0, 63) : "default"}/${name.slice(0, 253)}`;
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}
