/** Which kinds the children of a pool are, and which of them are not wanted any more. Pure. */
import { partLabel } from "./config-objects.ts";
import type { KubeObject } from "./object.ts";

/** `operator/kube`'s type of the same name. */
export interface ResourceType {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

function type(group: string, plural: string, kind: string): ResourceType {
  return { group, version: "v1", plural, kind, namespaced: true };
}

/** Every kind that `buildPool` makes. */
const childTypes: readonly ResourceType[] = [
  type("", "serviceaccounts", "ServiceAccount"),
  type("", "secrets", "Secret"),
  type("", "configmaps", "ConfigMap"),
  type("", "services", "Service"),
  type("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
  type("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
  type("apps", "statefulsets", "StatefulSet"),
  type("apps", "deployments", "Deployment"),
  type("monitoring.coreos.com", "podmonitors", "PodMonitor"),
];

/** The one that is not of Kubernetes itself: ask for it before it is listed. */
export const podMonitorType = type("monitoring.coreos.com", "podmonitors", "PodMonitor");

/** @throws TypeError for a kind that no child has. */
export function childTypeOf({ kind }: { readonly kind: string }): ResourceType {
  const found = childTypes.find((one) => one.kind === kind);
  if (found === undefined) throw new TypeError(`Cannot find the type of a pool's child: got a ${kind}`);
  return found;
}

export interface ExistingChild {
  readonly kind: string;
  readonly metadata: Pick<KubeObject["metadata"], "name" | "labels" | "ownerReferences">;
}

export interface Wanted {
  /** Of the pool. */
  readonly uid: string;
  readonly objects: readonly KubeObject[];
  /** False: nothing is known about the configuration's parts, so they stay. */
  readonly isCompiled: boolean;
}

/**
 * The children to delete once the wanted ones are applied: the pool's own (by owner, not by label, which anybody can
 * set) that are not wanted. A slot that has no tenant any more is one of them.
 */
export function staleChildren<Child extends ExistingChild>(
  existing: readonly Child[],
  { uid, objects, isCompiled }: Wanted,
): Child[] {
  const names = new Set(objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
  return existing.filter(({ kind, metadata }) => {
    const isOwn =
      metadata.ownerReferences?.some((owner) => owner.controller === true && owner.uid === uid) ?? false;
    const isKept = !isCompiled && metadata.labels?.[partLabel] !== undefined;
    return isOwn && !isKept && !names.has(`${kind}/${metadata.name}`);
  });
}
