/** What the fake API server keeps: objects, one counter of versions, the history that watches read. No HTTP, no time of its own. */
import type { KubeObject, ResourceType } from "#operator/kube/types.ts";
import { applyFields, type Fields, isFields, mergePatch, same } from "./fake-api-server-apply.ts";

/** A refusal as the API server words it. */
export class Refusal extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

export interface Change {
  readonly version: number;
  readonly type: ResourceType;
  readonly kind: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
  readonly before: KubeObject | undefined;
}

export interface WriteOptions {
  readonly manager?: string;
  readonly force?: boolean;
  readonly subresource?: "status" | undefined;
}

export interface Preconditions {
  readonly uid?: string;
  readonly resourceVersion?: string;
}

export type FakeState = ReturnType<typeof createFakeState>;

/** Kinds without status subresource and generation, as in the real API server. */
const plain = new Set([
  "configmaps",
  "secrets",
  "serviceaccounts",
  "events",
  "leases",
  "roles",
  "rolebindings",
]);

export function keyOf(namespace: string | undefined, name: string): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** Versions begin at 100. `now` gives timestamps; `changed` is told of each change as it is made. */
export function createFakeState({
  now = () => Date.now(),
  changed = () => undefined,
  check = () => undefined,
}: {
  now?: () => number;
  changed?: (change: Change) => void;
  /** Stands for schema and admission: a text refuses the object with 422. */
  check?: (type: ResourceType, object: KubeObject) => string | undefined;
} = {}) {
  const kinds = new Map<string, Map<string, KubeObject>>();
  const managers = new Map<string, Map<string, Fields>>();
  let history: Change[] = [];
  let version = 100;
  let compacted = 0;
  let uids = 0;

  const objects = ({ group, plural }: ResourceType): Map<string, KubeObject> => {
    const key = `${plural}.${group}`;
    const known = kinds.get(key) ?? new Map<string, KubeObject>();
    kinds.set(key, known);
    return known;
  };

  const commit = (type: ResourceType, kind: Change["kind"], next: KubeObject): KubeObject => {
    version += 1;
    const held = objects(type);
    const key = keyOf(next.metadata.namespace, next.metadata.name);
    const before = held.get(key);
    const object = { ...next, metadata: { ...next.metadata, resourceVersion: String(version) } };
    if (kind === "DELETED") held.delete(key);
    else held.set(key, object);
    const change = { version, type, kind, object, before };
    history.push(change);
    changed(change);
    return object;
  };

  /** Stores `next` where it differs from `before`; finalizers that ran out let a deleted object go. */
  const update = (type: ResourceType, before: KubeObject, next: KubeObject, status: boolean): KubeObject => {
    const own = plain.has(type.plural);
    const content = own || status ? next : { ...next, ...statusOf(before) };
    const kept: KubeObject = status ? { ...before, ...statusOf(content) } : content;
    const metadata = { ...(status ? before.metadata : content.metadata) };
    for (const fixed of ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation"])
      metadata[fixed] = before.metadata[fixed];
    metadata.resourceVersion = before.metadata.resourceVersion ?? "";
    const object = clean({ ...kept, metadata });
    if (same(object, before)) return before;
    if (!status && !own && !same(specOf(object), specOf(before)))
      object.metadata.generation = (before.metadata.generation ?? 1) + 1;
    const refusal = check(type, object);
    if (refusal !== undefined) throw new Refusal(422, "Invalid", refusal);
    if (object.metadata.deletionTimestamp === undefined) return commit(type, "MODIFIED", object);
    const finalizers = object.metadata.finalizers ?? [];
    if (finalizers.some((one) => !(before.metadata.finalizers ?? []).includes(one)))
      throw new Refusal(422, "Invalid", "no new finalizers can be added if the object is being deleted");
    return commit(type, finalizers.length === 0 ? "DELETED" : "MODIFIED", object);
  };

  const found = (type: ResourceType, namespace: string | undefined, name: string): KubeObject => {
    const object = objects(type).get(keyOf(namespace, name));
    if (object === undefined) throw new Refusal(404, "NotFound", `${type.plural} "${name}" not found`);
    return object;
  };

  const precondition = (object: KubeObject, { uid, resourceVersion }: Preconditions): void => {
    const { metadata } = object;
    if (uid !== undefined && uid !== metadata.uid)
      throw new Refusal(409, "Conflict", `Precondition failed: UID in precondition: ${uid}`);
    if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
      throw new Refusal(
        409,
        "Conflict",
        `"${metadata.name}": the object has been modified; please apply your changes to the latest version and try again`,
      );
  };

  const create = (type: ResourceType, given: KubeObject): KubeObject => {
    const { name, namespace } = given.metadata;
    if (objects(type).has(keyOf(namespace, name)))
      throw new Refusal(409, "AlreadyExists", `${type.plural} "${name}" already exists`);
    const { status: _, ...withoutStatus } = given;
    const own = plain.has(type.plural);
    uids += 1;
    const object = clean({
      ...(own ? given : withoutStatus),
      apiVersion: type.group === "" ? type.version : `${type.group}/${type.version}`,
      kind: type.kind,
      metadata: {
        ...given.metadata,
        uid: `uid-${uids}`,
        creationTimestamp: new Date(now()).toISOString().replace(/\.\d+Z$/, "Z"),
        ...(own ? {} : { generation: 1 }),
      },
    });
    const refusal = check(type, object);
    if (refusal !== undefined) throw new Refusal(422, "Invalid", refusal);
    return commit(type, "ADDED", object);
  };

  return {
    version: () => version,
    compactedTo: () => compacted,
    get: (type: ResourceType, namespace: string | undefined, name: string) =>
      objects(type).get(keyOf(namespace, name)),
    /** All of a kind in key order, as etcd lists them. */
    list(type: ResourceType): readonly (readonly [string, KubeObject])[] {
      return [...objects(type)].sort(([a], [b]) => (a < b ? -1 : 1));
    },
    /** undefined: that version is gone. */
    since(from: number): readonly Change[] | undefined {
      return from < compacted ? undefined : history.filter((change) => change.version > from);
    },
    /** Forgets the history: watches and pages from older versions get 410. */
    compact(): void {
      compacted = version;
      history = [];
    },
    /** As after a restore of etcd: versions are lower than those given out. */
    rewind(to: number): void {
      version = to;
      compacted = to;
      history = [];
    },
    create,
    replace(type: ResourceType, given: KubeObject, { subresource }: WriteOptions = {}): KubeObject {
      const before = found(type, given.metadata.namespace, given.metadata.name);
      precondition(before, pick(given));
      return update(type, before, given, subresource === "status");
    },
    patch(
      type: ResourceType,
      { namespace, name }: { namespace: string | undefined; name: string },
      patch: Fields,
      { subresource }: WriteOptions = {},
    ): KubeObject {
      const before = found(type, namespace, name);
      const metadata = isFields(patch["metadata"]) ? patch["metadata"] : {};
      precondition(before, metadata);
      return update(type, before, mergePatch(before, patch) as KubeObject, subresource === "status");
    },
    apply(
      type: ResourceType,
      given: KubeObject,
      { manager = "test", force = false, subresource }: WriteOptions = {},
    ) {
      const { name, namespace, resourceVersion: _, uid: __, ...ownMetadata } = given.metadata;
      const before = objects(type).get(keyOf(namespace, name));
      if (before === undefined && (subresource === "status" || given.metadata.resourceVersion !== undefined))
        throw new Refusal(404, "NotFound", `${type.plural} "${name}" not found`);
      if (before !== undefined) precondition(before, pick(given));
      const { apiVersion: ___, kind: ____, ...content } = given;
      const applied: Fields =
        subresource === "status" ? { ...statusOf(given) } : { ...content, metadata: ownMetadata };
      if (subresource !== "status" && !plain.has(type.plural)) delete applied["status"];
      const live = before ?? {
        ...given,
        metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
      };
      const held = managers.get(before?.metadata.uid ?? "") ?? new Map<string, Fields>();
      const own = `${manager}/${subresource ?? ""}`;
      const others = [...held].filter(([key]) => key !== own).map(([, fields]) => fields);
      const { merged, conflicts } = applyFields(live, { applied, previous: held.get(own), others });
      if (!force && conflicts.length > 0)
        throw new Refusal(
          409,
          "Conflict",
          `Apply failed with ${conflicts.length} conflict: ${conflicts.map(({ field }) => field).join(", ")}`,
        );
      const object =
        before === undefined
          ? create(type, merged as KubeObject)
          : update(type, before, merged as KubeObject, subresource === "status");
      managers.set(object.metadata.uid ?? "", held.set(own, applied));
      for (const [key, fields] of held) if (key !== own) held.set(key, without(fields, applied) as Fields);
      return { object, created: before === undefined };
    },
    /** The object as it went, or as it waits for its finalizers. */
    remove(
      type: ResourceType,
      namespace: string | undefined,
      name: string,
      given: Preconditions = {},
    ): KubeObject {
      const before = found(type, namespace, name);
      precondition(before, given);
      if ((before.metadata.finalizers ?? []).length === 0) return commit(type, "DELETED", before);
      if (before.metadata.deletionTimestamp !== undefined) return before;
      const deletionTimestamp = new Date(now()).toISOString().replace(/\.\d+Z$/, "Z");
      const generation =
        before.metadata.generation === undefined ? {} : { generation: before.metadata.generation + 1 };
      return commit(type, "MODIFIED", {
        ...before,
        metadata: { ...before.metadata, ...generation, deletionTimestamp, deletionGracePeriodSeconds: 0 },
      });
    },
    /** What the garbage collector would do now: removes children none of whose owners lives. */
    collectGarbage(types: readonly ResourceType[]): void {
      const alive = new Set(
        [...kinds.values()].flatMap((held) => [...held.values()].map((one) => one.metadata.uid)),
      );
      for (const type of types)
        for (const [, { metadata }] of this.list(type)) {
          const owners = metadata.ownerReferences ?? [];
          if (owners.length > 0 && !owners.some(({ uid }) => alive.has(uid)))
            this.remove(type, metadata.namespace, metadata.name);
        }
    },
  };
}

function pick({ metadata: { uid, resourceVersion } }: KubeObject): Preconditions {
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined || resourceVersion === "" ? {} : { resourceVersion }),
  };
}

function statusOf(object: KubeObject): { status?: unknown } {
  return "status" in object ? { status: object["status"] } : {};
}

function specOf(object: KubeObject): Fields {
  const { apiVersion: _, kind: __, metadata: ___, status: ____, ...spec } = object;
  return spec;
}

/** `fields` without what `taken` says as well: ownership that moved to another manager. */
function without(fields: unknown, taken: unknown): unknown {
  if (!isFields(fields) || !isFields(taken)) return fields;
  const left: Fields = {};
  for (const [key, value] of Object.entries(fields)) {
    if (!(key in taken) || same(value, taken[key])) left[key] = value;
    else if (isFields(value)) left[key] = without(value, taken[key]);
  }
  return left;
}

/** No undefined values, no managedFields, no empty maps and lists of metadata: as JSON comes back. */
function clean(object: KubeObject): KubeObject {
  const copy = JSON.parse(JSON.stringify(object)) as KubeObject;
  delete copy.metadata["managedFields"];
  for (const field of ["finalizers", "ownerReferences", "labels", "annotations"])
    if (Object.keys((copy.metadata[field] as object | undefined) ?? { a: 1 }).length === 0)
      delete copy.metadata[field];
  return copy;
}
