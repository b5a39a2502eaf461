/**
 * What is kept of an object of which there may be very many: only what is read, and once what is the same in thousands of them. Pure
 * but for what it has seen; never writes into what it is given.
 */
import type { KubeObject } from "#operator/kube/types.ts";
import { poolLabel } from "#operator/resources/object.ts";

/** `kubectl apply` leaves a copy of the whole object here, of Secrets as well. */
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";
/** Of all annotations of a tenant, those with a meaning here. */
const ownPrefix = "mailboat.dev/";

export function trimmed(object: KubeObject): KubeObject {
  const { annotations } = object.metadata;
  if (annotations?.[lastApplied] === undefined) return object;
  const { [lastApplied]: _copy, ...rest } = annotations;
  return { ...object, metadata: { ...object.metadata, annotations: rest } };
}

export function trimmedPod(pod: KubeObject): KubeObject {
  return { ...trimmed(pod), spec: {} };
}

/** Whose it is, and what was applied: Secrets of others say nothing here but that they are there and which version. */
export function trimmedSecret({ apiVersion, kind, metadata }: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion, labels, ownerReferences, annotations } = metadata;
  const version = { name, namespace, uid, resourceVersion } as KubeObject["metadata"];
  if (labels?.[poolLabel] === undefined) return { apiVersion: shared(apiVersion), kind, metadata: version };
  return { apiVersion, kind, metadata: { ...version, ...given({ labels, ownerReferences, annotations }) } };
}

/** `specOf` gives the spec as it is kept elsewhere anyhow; undefined = as it came. */
export function trimmedTenant(
  tenant: KubeObject,
  specOf: (tenant: KubeObject) => object | undefined,
): KubeObject {
  const { apiVersion, kind, metadata, status } = tenant;
  const { name, uid, resourceVersion, generation, creationTimestamp, deletionTimestamp } = metadata;
  const own = Object.entries(metadata.annotations ?? {}).filter(([key]) => key.startsWith(ownPrefix));
  const kept = {
    name,
    namespace: shared(metadata.namespace),
    uid,
    resourceVersion,
    generation,
    creationTimestamp,
    deletionTimestamp,
    finalizers: shared(metadata.finalizers),
    annotations: own.length === 0 ? undefined : Object.fromEntries(own),
  } as KubeObject["metadata"];
  return {
    apiVersion: shared(apiVersion),
    kind,
    metadata: kept,
    spec: specOf(tenant) ?? tenant["spec"],
    ...(typeof status === "object" && status !== null ? { status: sharedStatus(status) } : {}),
  };
}

function sharedStatus(status: object): object {
  const conditions: unknown = Reflect.get(status, "conditions");
  return conditions === undefined ? status : { ...status, conditions: shared(conditions) };
}

const maxShared = 2000;
const known = new Map<string, unknown>();

/** The same value as was given before, if one that says the same was. */
function shared<Value>(value: Value): Value {
  if (value === undefined) return value;
  const text = JSON.stringify(value);
  const before = known.get(text);
  if (before !== undefined) return before as Value;
  if (known.size >= maxShared) known.clear();
  known.set(text, value);
  return value;
}

function given<Fields extends object>(fields: Fields): Partial<Fields> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Partial<Fields>;
}
