/** The pods of a pool as the API server shows them: which are ready, which are going, which containers have ended. Pure. */
import type { KubeObject } from "#operator/kube/types.ts";

/** The container of the pool's pods that has the shards. */
const container = "mailboat";

export function isReady(pod: KubeObject): boolean {
  return pod.metadata.deletionTimestamp === undefined && conditionIs(pod, "Ready");
}

/** Its container has a process: whatever becomes of the pod, it may have connections. */
export function isRunning({ status }: KubeObject): boolean {
  const own = listIn(status, "containerStatuses").find((one) => one["name"] === container);
  return fieldOf(own?.["state"], "running") !== undefined;
}

function conditionIs({ status }: KubeObject, type: string): boolean {
  return listIn(status, "conditions").some((one) => one["type"] === type && one["status"] === "True");
}

export interface Ending {
  readonly pod: string;
  /** ms since 1970, whole seconds: the process was over by then. */
  readonly finishedAt: number;
}

/**
 * The last end of the pod's container that its kubelet has seen with its own eyes. Nothing else proves a death: not a node that is
 * silent, not a pod that was deleted by force.
 */
export function endingOf({ metadata, status }: KubeObject): Ending | undefined {
  const own = listIn(status, "containerStatuses").find((one) => one["name"] === container);
  if (own === undefined) return undefined;
  for (const state of [own["state"], own["lastState"]]) {
    const finished = fieldOf(fieldOf(state, "terminated"), "finishedAt");
    const finishedAt = typeof finished === "string" ? Date.parse(finished) : Number.NaN;
    if (!Number.isNaN(finishedAt)) return { pod: metadata.name, finishedAt };
  }
  return undefined;
}

/** What a Deployment's status says, with what its spec wants. */
export function rolloutOf(deployment: KubeObject | undefined) {
  const status = deployment?.["status"];
  const count = (field: string): number => {
    const value = fieldOf(status, field);
    return typeof value === "number" ? value : 0;
  };
  const observed = fieldOf(status, "observedGeneration");
  const isObserved =
    deployment !== undefined &&
    typeof observed === "number" &&
    observed >= (deployment.metadata.generation ?? 0);
  return {
    replicas: count("replicas"),
    ready: count("readyReplicas"),
    updated: count("updatedReplicas"),
    available: count("availableReplicas"),
    terminating: count("terminatingReplicas"),
    isObserved,
  };
}

export function wantedBy(deployment: KubeObject | undefined): number | undefined {
  const replicas = fieldOf(deployment?.["spec"], "replicas");
  return typeof replicas === "number" ? replicas : undefined;
}

export function isScaledToZero(deployment: KubeObject | undefined): boolean {
  return wantedBy(deployment) === 0 && rolloutOf(deployment).replicas === 0;
}

/** All pods are of the newest template and available. */
export function isRolledOut(deployment: KubeObject): boolean {
  const { isObserved, updated, replicas, available } = rolloutOf(deployment);
  const wanted = wantedBy(deployment) ?? 0;
  return isObserved && updated >= wanted && replicas === updated && available >= wanted;
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function listIn(value: unknown, field: string): Record<string, unknown>[] {
  const list = fieldOf(value, field);
  return Array.isArray(list)
    ? list.filter((one): one is Record<string, unknown> => typeof one === "object" && one !== null)
    : [];
}
