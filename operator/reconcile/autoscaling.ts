/** The built-in autoscaler of each pool: asks operator/scale with what the pods report, remembers what it decided. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { parseDuration } from "#crds/values/duration.ts";
import type { Clock } from "#operator/kube/types.ts";
import { decideScale, startScale } from "#operator/scale/scale.ts";
import type { PodSample, ScaleReason, ScaleSpec, ScaleState } from "#operator/scale/types.ts";
import type { Told } from "./reports.ts";

interface Scaled {
  readonly replicas: number;
  readonly reason: ScaleReason;
  readonly hasChanged: boolean;
}

export interface Autoscaling {
  /** Decides again with what is known now. `current` is what the Deployment wants, when there is one. */
  decide(pool: string, spec: SendingPoolSpec, known: ScaleFacts): Scaled | undefined;
  /** Why, as of the last decision; undefined = there was none yet. */
  reason(pool: string): ScaleReason | undefined;
  /** What was decided last; undefined = `spec.replicas` counts. */
  replicas(pool: string, spec: SendingPoolSpec, current: number | undefined): number | undefined;
  forget(pool: string): void;
}

interface ScaleFacts {
  readonly current: number | undefined;
  readonly told: ReadonlyMap<string, Told>;
}

export function createAutoscaling(clock: Pick<Clock, "monotonic" | "now">): Autoscaling {
  const states = new Map<string, ScaleState>();
  const reasons = new Map<string, ScaleReason>();
  const forget = (pool: string): void => {
    states.delete(pool);
    reasons.delete(pool);
  };
  const stateOf = (pool: string, spec: SendingPoolSpec, current: number | undefined): ScaleState => {
    const known = states.get(pool) ?? startScale(current ?? spec.replicas, clock.monotonic());
    states.set(pool, known);
    return known;
  };
  return {
    decide(pool, spec, { current, told }) {
      if (spec.autoscaling === undefined) {
        forget(pool);
        return undefined;
      }
      const now = clock.monotonic();
      const state = stateOf(pool, spec, current);
      const samples = [...told].map(([pod, one]) => sampleOf(pod, one, clock.now()));
      const decision = decideScale({ spec: scaleSpec(spec), samples, state, now });
      states.set(pool, decision.state);
      reasons.set(pool, decision.reason);
      const hasChanged = decision.replicas !== state.replicas;
      return { replicas: decision.replicas, reason: decision.reason, hasChanged };
    },
    reason: (pool) => reasons.get(pool),
    replicas: (pool, spec, current) =>
      spec.autoscaling === undefined ? undefined : stateOf(pool, spec, current).replicas,
    forget,
  };
}

function sampleOf(pod: string, { report, at }: Told, now: number): PodSample {
  const { backlog } = report;
  const oldestMs = backlog.oldestAt === null ? 0 : Math.max(0, now - backlog.oldestAt);
  return { pod, at, sendable: backlog.messages, oldestMs, busy: report.busy };
}

function scaleSpec({ autoscaling, queue }: SendingPoolSpec): ScaleSpec {
  const { scaleDown, ...spec } = autoscaling ?? { maxReplicas: 1 };
  const ms = (text: string): number => parseDuration(text) ?? 0;
  return {
    minReplicas: spec.minReplicas ?? compiledDefaults.minReplicas,
    maxReplicas: spec.maxReplicas,
    shards: queue.shards,
    targetBacklogPerReplica: spec.targetBacklogPerReplica ?? compiledDefaults.targetBacklogPerReplica,
    maxBacklogAgeMs: ms(spec.maxBacklogAge ?? compiledDefaults.maxBacklogAge),
    scaleDown: {
      stabilizationMs: ms(scaleDown?.stabilization ?? compiledDefaults.scaleDownStabilization),
      maxStepPercent: scaleDown?.maxStepPercent ?? compiledDefaults.scaleDownStepPercent,
    },
  };
}
