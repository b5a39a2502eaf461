/** Runs the autoscaler over a written trace of a pool's load, one decision every 10 s, and says when and why the number changed. */
import { decideScale, startScale } from "#operator/scale/scale.ts";
import type { PodSample, ScaleReason, ScaleSpec } from "#operator/scale/types.ts";

export const spec: ScaleSpec = {
  minReplicas: 1,
  maxReplicas: 16,
  shards: 64,
  targetBacklogPerReplica: 1000,
  maxBacklogAgeMs: 60_000,
  scaleDown: { stabilizationMs: 300_000, maxStepPercent: 10 },
};

/** From `at` seconds on: of the whole pool; `busy` is the work in pods (1.5 = a pod and a half), `reporting` absent = all. */
export interface Phase {
  readonly at: number;
  readonly backlog?: number;
  readonly oldest?: number;
  readonly work?: number;
  readonly reporting?: number;
}

export interface Trace {
  readonly spec?: Partial<ScaleSpec>;
  readonly replicas: number;
  readonly seconds: number;
  readonly phases: readonly Phase[];
}

export interface Told {
  readonly second: number;
  readonly replicas: number;
  readonly reason: ScaleReason;
}

const everySeconds = 10;

export function samplesOf(phase: Phase, replicas: number, now: number): PodSample[] {
  const pods = Math.min(phase.reporting ?? replicas, replicas);
  return Array.from({ length: pods }, (_, index) => ({
    pod: `pod-${index}`,
    at: now,
    sendable: Math.floor((phase.backlog ?? 0) / replicas),
    oldestMs: 1000 * (phase.oldest ?? 0),
    busy: Math.min(1, (phase.work ?? 0) / replicas),
  }));
}

export function run(trace: Trace): Told[] {
  let state = startScale(trace.replicas, 0);
  const told: Told[] = [];
  for (let second = 0; second <= trace.seconds; second += everySeconds) {
    const phase = trace.phases.findLast(({ at }) => at <= second) ?? { at: 0 };
    const now = second * 1000;
    const decision = decideScale({
      spec: { ...spec, ...trace.spec },
      samples: samplesOf(phase, state.replicas, now),
      state,
      now,
    });
    state = decision.state;
    told.push({ second, replicas: decision.replicas, reason: decision.reason });
  }
  return told;
}

/** Only the lines where something is new. */
export function storyOf(told: readonly Told[]): string {
  const lines = told.filter((one, index) => {
    const before = told[index - 1];
    return before === undefined || before.replicas !== one.replicas || before.reason !== one.reason;
  });
  return `${lines.map(({ second, replicas, reason }) => `${String(second).padStart(5)} s  ${String(replicas).padStart(3)}  ${reason}`).join("\n")}\n`;
}
