/** Where kinds live at the API server, and how lists are asked for. Pure. Throws TypeError for a reference that fits no path. */
import type { KubeObject, ListOptions, ObjectRef, ResourceType } from "./types.ts";

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** @example groupPath({ group: "apps", version: "v1", ... }) === "/apis/apps/v1" */
export function groupPath({ group, version }: ResourceType): string {
  return group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
}

function apiVersionOf({ group, version }: ResourceType): string {
  return group === "" ? version : `${group}/${version}`;
}

/** All of a kind, or those of one namespace. */
export function collectionPath(type: ResourceType, namespace?: string): string {
  if (namespace !== undefined && !type.namespaced)
    throw new TypeError(`Cannot address ${type.plural}: the kind has no namespaces, got ${namespace}`);
  const inside = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${groupPath(type)}${inside}/${type.plural}`;
}

export function objectPath(type: ResourceType, { namespace, name }: ObjectRef): string {
  if (name === "") throw new TypeError(`Cannot address ${type.plural}: expected a name, got ""`);
  if (type.namespaced && (namespace === undefined || namespace === ""))
    throw new TypeError(`Cannot address ${type.plural}/${name}: expected a namespace, got none`);
  return `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
}

/** Leaves out what is undefined. */
export function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]],
  );
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}

export function selectionOf({ labelSelector, fieldSelector }: ListOptions): Query {
  return { labelSelector, fieldSelector };
}

/** The key of stores and queues: "namespace/name", or "name" for kinds without namespaces. */
export function keyOf({ namespace, name }: ObjectRef): string {
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * The object as this room hands it out: with the kind's own names, which items of lists lack, and without what nobody here
 * reads and doubles the memory: managedFields, and kubectl's copy of the whole object. Undefined for what is no object.
 */
export function trimmed(type: ResourceType, value: unknown): KubeObject | undefined {
  const object = value as KubeObject | null | undefined;
  if (typeof object?.metadata?.name !== "string") return undefined;
  delete object.metadata["managedFields"];
  delete object.metadata.annotations?.[lastApplied];
  return Object.assign(object, { apiVersion: apiVersionOf(type), kind: type.kind });
}
