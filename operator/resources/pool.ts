/** A SendingPool and its compiled configuration → the objects of Kubernetes that run it, in the order to apply them. Pure. */
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { adminSecret } from "./admin-token.ts";
import { configObjects, keyObjects } from "./config-objects.ts";
import type { PoolFiles } from "./config-objects.ts";
import { deployment } from "./deployment.ts";
import { poolIdentity } from "./object.ts";
import type { KubeObject } from "./object.ts";
import { disruptionBudget, networkPolicy, podMonitor, serviceAccount } from "./policies.ts";
import { proxyObjects } from "./proxy.ts";
import { adminService, poolService } from "./services.ts";

export interface PoolInput {
  /** As the API server has it: `metadata.uid` is needed. */
  readonly pool: Resource<SendingPoolSpec>;
  /** The compiled pool's files (`poolFiles` of operator/compile). Undefined: it cannot be compiled, and its pods keep what they have. */
  readonly files?: PoolFiles | undefined;
  /** Image of the pods, unless the pool has its own. */
  readonly image: string;
  readonly imagePullPolicy?: string | undefined;
  /** In place of `spec.replicas`: what the autoscaler decided. */
  readonly replicas?: number | undefined;
  /** Of `adminTokenOf`: the one that exists, else a new one. */
  readonly adminToken: string;
  /** The API server knows PodMonitors. */
  readonly hasPodMonitors: boolean;
  /** Of the PodMonitor, besides our own. */
  readonly podMonitorLabels?: Readonly<Record<string, string>> | undefined;
}

/**
 * Ready for server-side apply: no null, no default of the server's, the same bytes for the same input.
 * Apply in this order: a pod takes a configuration when its files fit together, so keys come before slots and slots
 * before the manifest; a Deployment comes after what its pods mount.
 * @throws TypeError when the pool has no uid.
 */
export function buildPool(input: PoolInput): KubeObject[] {
  const { spec, metadata } = input.pool;
  const pool = poolIdentity(metadata);
  const { files } = input;
  return [
    ...(spec.pod?.serviceAccountName === undefined ? [serviceAccount(pool)] : []),
    adminSecret(pool, input.adminToken),
    ...(files === undefined ? [] : [...keyObjects(pool, files.keys), ...configObjects(pool, files.config)]),
    poolService(pool, spec),
    adminService(pool),
    ...(spec.networkPolicy?.enabled === true ? [networkPolicy(pool, spec)] : []),
    disruptionBudget(pool, spec),
    ...proxyObjects(pool, input),
    deployment({ ...input, identity: pool }),
    ...(input.hasPodMonitors ? [podMonitor(pool, input.podMonitorLabels)] : []),
  ];
}
