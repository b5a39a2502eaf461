/** What every child of a SendingPool has in common: names, labels, owner, JSON without what is not said. Pure. */
import { apiVersion } from "#crds/api/v1alpha1/metadata.ts";
import type { Metadata } from "#crds/api/v1alpha1/metadata.ts";

interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** An object of Kubernetes as JSON: `operator/kube`'s type of the same name, which rooms do not share. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: OwnerReference[];
    [field: string]: unknown;
  };
  [field: string]: unknown;
}

/** The pool as its children know it. */
export interface PoolIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** @throws TypeError for a pool that no API server has seen: children without an owner would stay for ever. */
export function poolIdentity({ namespace, name, uid }: Metadata): PoolIdentity {
  if (uid === undefined)
    throw new TypeError(`Cannot build pool ${namespace}/${name}: expected metadata.uid, got nothing`);
  return { namespace, name, uid };
}

export type Component = "pod" | "proxy";

/** Label that all children of a pool have, its pods included. */
export const poolLabel = "mailboat.dev/pool";

/** What a pod of a pool is. */
export const componentLabel = "app.kubernetes.io/component";

/** Which pods are a Deployment's or a Service's: never to be changed, as a Deployment's selector cannot be. */
export function selectorLabels(pool: string, component: Component): Record<string, string> {
  return {
    [componentLabel]: component,
    "app.kubernetes.io/name": "mailboat",
    [poolLabel]: pool,
  };
}

/** The same as text, for `status.selector` and lists of pods. */
export function selectorText(pool: string, component: Component): string {
  return Object.entries(selectorLabels(pool, component))
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
}

export function childLabels(pool: string, component: Component = "pod"): Record<string, string> {
  return {
    ...selectorLabels(pool, component),
    "app.kubernetes.io/instance": pool,
    "app.kubernetes.io/managed-by": "mailboat",
  };
}

/** Names of a pool's children (all in its namespace). */
export const childNames = {
  main: (pool: string) => `mailboat-${pool}`,
  admin: (pool: string) => `mailboat-${pool}-admin`,
  config: (pool: string) => `mailboat-${pool}-config`,
  /** `slot` is a number without leading zeros. */
  configSlot: (pool: string, slot: number) => `mailboat-${pool}-config-${slot}`,
  keySlot: (pool: string, slot: number) => `mailboat-${pool}-keys-${slot}`,
} as const;

export interface ChildOptions {
  readonly pool: PoolIdentity;
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly component?: Component;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** A child with its labels and its owner; `content` is the rest of it (spec, data). */
export function child({ pool, ...options }: ChildOptions, content: object): KubeObject {
  return {
    apiVersion: options.apiVersion,
    kind: options.kind,
    metadata: {
      name: options.name,
      namespace: pool.namespace,
      labels: { ...options.labels, ...childLabels(pool.name, options.component) },
      ...(options.annotations === undefined ? {} : { annotations: { ...options.annotations } }),
      ownerReferences: [
        {
          apiVersion,
          kind: "SendingPool",
          name: pool.name,
          uid: pool.uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    ...content,
  };
}

/** `{}` for undefined: what is not set is absent, since applying a null would take the field over. */
export function optional<Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): { [field in Name]?: Value } {
  // A computed key is typed as any string: the assertion says what the line before it builds.
  return value === undefined ? {} : ({ [name]: value } as { [field in Name]: Value });
}
