/**
 * Objects as the API server holds them → a Snapshot. A generation of an object is parsed once, so that an edit costs one parse and
 * the compiler sees which resources are the same as before. Never throws: what does not parse is told.
 */
import { sendingPoolSchema, tenantSchema, trafficShapeSchema } from "#crds/api/v1alpha1/kinds.ts";
import { identityOf, type Metadata } from "#crds/api/v1alpha1/metadata.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource, SecretResource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";
import { drained } from "./drained.ts";

type KindName = "SendingPool" | "TrafficShape" | "Tenant";

/** What the API server holds, by kind. Secrets are parsed already, and only those that something refers to. */
export interface Held<Tenant extends object = object> {
  readonly pools: Iterable<object>;
  readonly shapes: Iterable<object>;
  readonly tenants: Iterable<Tenant>;
  readonly secrets: Iterable<SecretResource>;
  /** Labels by name of the namespace; undefined when namespaces cannot be read. */
  readonly namespaces?: Snapshot["namespaces"];
}

/** An object that the schema of this release does not take: stored before a rule was made, or by a newer release. */
export interface Unreadable {
  readonly kind: KindName;
  readonly identity: string;
  readonly generation: number | undefined;
  readonly issues: readonly Issue[];
}

interface GatheredObjects {
  readonly snapshot: Snapshot;
  readonly unreadable: readonly Unreadable[];
}

export interface ObjectGatherer {
  /** Without the tenants that are not taken. */
  gather<Tenant extends object>(
    held: Held<Tenant>,
    isTaken?: (tenant: Tenant, parsed: Resource<TenantSpec>) => boolean,
  ): GatheredObjects;
  /** The parsed resource of one object; undefined when it cannot be read. */
  pool(object: object): Resource<SendingPoolSpec> | undefined;
  tenant(object: object): Resource<TenantSpec> | undefined;
}

export function createObjectGatherer(): ObjectGatherer {
  const pools = memo("SendingPool", (object) => parseBy(sendingPoolSchema, object));
  const shapes = memo("TrafficShape", (object) => parseBy(trafficShapeSchema, object));
  const tenants = memo("Tenant", (object) => parseBy(tenantSchema, object), goingIsDrained);
  return {
    gather(held, isTaken) {
      const unreadable: Unreadable[] = [];
      const snapshot = {
        pools: sorted(pools.all(held.pools, unreadable)),
        shapes: sorted(shapes.all(held.shapes, unreadable)),
        tenants: sorted(tenants.all(held.tenants, unreadable, isTaken)),
        secrets: sorted([...held.secrets]),
        ...(held.namespaces === undefined ? {} : { namespaces: held.namespaces }),
      };
      return { snapshot, unreadable };
    },
    pool: pools.one,
    tenant: tenants.one,
  };
}

interface Memo<Spec> {
  all<Item extends object>(
    objects: Iterable<Item>,
    unreadable: Unreadable[],
    isTaken?: (object: Item, parsed: Resource<Spec>) => boolean,
  ): Resource<Spec>[];
  one(object: object): Resource<Spec> | undefined;
}

function memo<Spec>(
  kind: KindName,
  parse: (object: object) => Parsed<{ metadata: Metadata; spec: Spec }>,
  change: (resource: Resource<Spec>) => Resource<Spec> = (resource) => resource,
): Memo<Spec> {
  let known = new Map<string, Known<Spec>>();
  const read = (object: object): Known<Spec> => {
    const { identity, version } = identityIn(object);
    const before = known.get(identity);
    if (before !== undefined && before.version === version) return before;
    const parsed = parse(object);
    const made = parsed.ok
      ? { resource: change(resourceOf(kind, parsed.value)) }
      : { unreadable: { kind, identity, generation: generationIn(object), issues: parsed.issues } };
    const one = { version, identity, ...made };
    known.set(identity, one);
    return one;
  };
  return {
    all(objects, unreadable, isTaken = () => true) {
      const next = new Map<string, Known<Spec>>();
      const resources: Resource<Spec>[] = [];
      for (const object of objects) {
        const one = read(object);
        next.set(one.identity, one);
        if (one.resource !== undefined && isTaken(object, one.resource)) resources.push(one.resource);
        if (one.unreadable !== undefined) unreadable.push(one.unreadable);
      }
      known = next;
      return resources;
    },
    one: (object) => read(object).resource,
  };
}

interface Known<Spec> {
  readonly identity: string;
  /** Of what the compiler sees: its status is written all the time, and says nothing to it. */
  readonly version: string;
  readonly resource?: Resource<Spec>;
  readonly unreadable?: Unreadable;
}

/** Only what is read: the rest of the metadata (annotations of `kubectl apply` above all) would be kept twice. */
function resourceOf<Spec>(kind: KindName, value: { metadata: Metadata; spec: Spec }): Resource<Spec> {
  const { name, namespace, uid, generation, creationTimestamp, deletionTimestamp } = value.metadata;
  const metadata = { name, namespace, uid, generation, creationTimestamp, deletionTimestamp };
  return { source: `${kind} ${namespace}/${name}`, metadata, spec: value.spec };
}

function goingIsDrained(tenant: Resource<TenantSpec>): Resource<TenantSpec> {
  const { deletionTimestamp } = tenant.metadata;
  return typeof deletionTimestamp === "string" ? drained(tenant, deletionTimestamp) : tenant;
}

function identityIn(object: object): { readonly identity: string; readonly version: string } {
  const [namespace, name, uid, generation, deletionTimestamp] = [
    "namespace",
    "name",
    "uid",
    "generation",
    "deletionTimestamp",
  ].map((field) => metadataIn(object, field));
  const version = JSON.stringify([uid, generation, deletionTimestamp]);
  return { identity: `${String(namespace)}/${String(name)}`, version };
}

function generationIn(object: object): number | undefined {
  const generation = metadataIn(object, "generation");
  return typeof generation === "number" ? generation : undefined;
}

function metadataIn(object: object, field: string): unknown {
  const metadata: unknown = Reflect.get(object, "metadata");
  return typeof metadata === "object" && metadata !== null ? Reflect.get(metadata, field) : undefined;
}

/** By namespace, then name: the order of events decides nothing. */
function sorted<Item extends { metadata: Metadata }>(items: Item[]): Item[] {
  const keyed = items.map((item) => ({ item, key: identityOf(item.metadata) }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map(({ item }) => item);
}
