/**
 * One pool at a time: a template that changed although its pool did not (an upgrade of the operator, as a rule) waits until no
 * other pool is being rolled out. What a user changed goes at once. Pure but for what it remembers.
 */
import { digestOf } from "#crds/pod-config/encode.ts";
import type { Clock, KubeObject } from "#operator/kube/types.ts";
import { childNames, type KubeObject as Built } from "#operator/resources/object.ts";
import { fieldOf, isRolledOut } from "./pods.ts";
import { keyOf, type Stores } from "./stores.ts";

/** On the Deployment: digest of its template, and the generation of the pool that it was made for. */
const marks = { template: "mailboat.dev/template", poolGeneration: "mailboat.dev/pool-generation" } as const;

export interface RollOuts {
  /** The Deployment with its marks. */
  marked(deployment: Built, poolGeneration: number | undefined): Built;
  /** Whether the marked Deployment has to wait for its turn. */
  mustWait(pool: string, deployment: Built): boolean;
}

/** A pool that does not come up keeps its turn no longer. */
const turnMs = 600_000;

export function createRollOuts(stores: Pick<Stores, "get" | "values">, clock: Clock): RollOuts {
  let turn: { readonly pool: string; readonly at: number } | undefined;
  const isOver = ({ pool, at }: { pool: string; at: number }): boolean => {
    if (clock.monotonic() - at > turnMs) return true;
    const live = stores.get("deployments", deploymentKey(pool));
    // Not before its controller has had the time to see it.
    return live === undefined || (clock.monotonic() - at > 5000 && isRolledOut(live));
  };
  return {
    marked(deployment, poolGeneration) {
      const template = digestOf(fieldOf(deployment["spec"], "template")).slice(0, 16);
      const { metadata } = deployment;
      const own = { [marks.template]: template, [marks.poolGeneration]: String(poolGeneration ?? 0) };
      return { ...deployment, metadata: { ...metadata, annotations: { ...metadata.annotations, ...own } } };
    },
    mustWait(pool, deployment) {
      const live = stores.get("deployments", deploymentKey(pool));
      if (live === undefined || !isOursAlone(live, deployment)) return false;
      if (turn?.pool === pool) return false;
      if (turn !== undefined && !isOver(turn)) return true;
      for (const other of stores.values("deployments"))
        if (keyOf(other) !== keyOf(live) && isRolling(other)) return true;
      turn = { pool, at: clock.monotonic() };
      return false;
    },
  };
}

function deploymentKey(pool: string): string {
  const [namespace, name = ""] = pool.split("/");
  return `${namespace}/${childNames.main(name)}`;
}

/** The template is another, and nobody edited the pool since the last one. */
function isOursAlone(live: KubeObject, deployment: Built): boolean {
  const [before, after] = [live.metadata.annotations ?? {}, deployment.metadata.annotations ?? {}];
  const isOther = before[marks.template] !== after[marks.template];
  return isOther && before[marks.poolGeneration] === after[marks.poolGeneration];
}

/** Only what has a new template and is not through with it: a pool that is broken anyway holds nobody up. */
function isRolling(deployment: KubeObject): boolean {
  const updated = fieldOf(deployment["status"], "updatedReplicas");
  const replicas = fieldOf(deployment["status"], "replicas");
  const observed = fieldOf(deployment["status"], "observedGeneration");
  if (observed !== deployment.metadata.generation) return true;
  return typeof replicas === "number" && replicas > (typeof updated === "number" ? updated : 0);
}
