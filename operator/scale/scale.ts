/**
 * How many pods a pool should have: up at once, down slowly, still without data. Pure; never fails. What limits hold back
 * asks for nothing, since a site has one owner: more pods do not help it.
 */
import { tuning } from "./tuning.ts";
import type { PodSample, ScaleDecision, ScaleInput, ScaleReason, ScaleSpec, ScaleState } from "./types.ts";

/** The beginning, also after a restart of the operator: `replicas` are there, and nothing is taken away for a whole window. */
export function startScale(replicas: number, now: number): ScaleState {
  return { replicas, changedAt: 0, watchedSince: now, needed: [] };
}

/**
 * @example decideScale({ spec, samples: [{ pod: "a", at: now, sendable: 4000, oldestMs: 2000, busy: 0.5 }], state: startScale(1, now), now })
 * // target 1000: { replicas: 2, reason: "Backlog", state }, and 4 once two pods report it
 */
export function decideScale({ spec, samples, state, now }: ScaleInput): ScaleDecision {
  const { replicas } = state;
  const bounded = Math.min(Math.max(replicas, spec.minReplicas), mostOf(spec));
  if (bounded !== replicas) return changed(bounded, "Bounds", { ...state, needed: [] }, now);
  const fresh = freshOf(samples, now);
  // What happened meanwhile is not known, so the window begins anew.
  if (fresh.length === 0) return unchanged({ ...state, watchedSince: now, needed: [] }, "NoData");
  const isPartial = fresh.length < replicas;
  const need = needOf(spec, fresh, replicas);
  const watched = isPartial ? { ...state, watchedSince: now } : state;
  const seen = noteNeed(watched, { at: now, replicas: need.replicas }, spec.scaleDown.stabilizationMs);
  if (need.replicas > replicas) return grow({ spec, state: seen, now, isPartial }, need);
  if (isPartial) return unchanged(seen, "PartialData");
  return shrink({ spec, state: seen, now, isPartial });
}

interface Circumstances {
  readonly spec: ScaleSpec;
  readonly state: ScaleState;
  readonly now: number;
  readonly isPartial: boolean;
}

interface Need {
  readonly replicas: number;
  readonly reason: ScaleReason;
}

function grow({ spec, state, now, isPartial }: Circumstances, need: Need): ScaleDecision {
  const wanted = Math.min(need.replicas, state.replicas * tuning.maxGrowth, mostOf(spec));
  if (wanted <= state.replicas) return unchanged(state, "AtMaximum");
  if (isPartial && now - state.changedAt < tuning.settleMs) return unchanged(state, "Settling");
  return changed(wanted, need.reason, state, now);
}

function shrink({ spec, state, now }: Circumstances): ScaleDecision {
  const { replicas } = state;
  const { stabilizationMs, maxStepPercent } = spec.scaleDown;
  const peak = Math.max(spec.minReplicas, ...state.needed.map((one) => one.replicas));
  if (peak >= replicas) {
    const isNow = Math.max(state.needed.at(-1)?.replicas ?? 0, spec.minReplicas) >= replicas;
    return unchanged(state, isNow ? "Steady" : "Stabilizing");
  }
  const isRipe = now - state.watchedSince >= stabilizationMs && now - state.changedAt >= tuning.downEveryMs;
  if (!isRipe) return unchanged(state, "Stabilizing");
  const step = Math.max(1, Math.floor((replicas * maxStepPercent) / 100));
  return changed(Math.max(peak, replicas - step), "Idle", state, now);
}

/** Above `replicas` when more are needed; else what the backlog and the work keep. */
function needOf(spec: ScaleSpec, fresh: readonly PodSample[], replicas: number): Need {
  const target = spec.targetBacklogPerReplica;
  const backlog = fresh.reduce((sum, { sendable }) => sum + sendable, 0);
  const oldestMs = Math.max(...fresh.map((sample) => sample.oldestMs));
  const work = fresh.reduce((sum, { busy }) => sum + busy, 0);
  const busy = work / fresh.length;
  const byBacklog = backlog > target * replicas * tuning.backlog.up ? Math.ceil(backlog / target) : 0;
  const worthwhile = Math.ceil(backlog / (target * tuning.ageCountsFrom));
  const late = oldestMs / spec.maxBacklogAgeMs;
  const byAge = late > 1 ? Math.min(Math.ceil(replicas * late), worthwhile) : 0;
  const byBusy = busy > tuning.busy.up ? Math.ceil((replicas * busy) / tuning.busy.target) : 0;
  const more = Math.max(byBacklog, byAge, byBusy);
  if (more > replicas)
    return { replicas: more, reason: more === byBacklog ? "Backlog" : more === byAge ? "Age" : "Busy" };
  const kept = Math.max(backlog / (target * tuning.backlog.down), work / tuning.busy.down);
  return { replicas: Math.min(replicas, Math.max(1, Math.ceil(kept))), reason: "Steady" };
}

/** The newest sample of each pod, without those that are too old or from the future of a clock that was set back. */
function freshOf(samples: readonly PodSample[], now: number): PodSample[] {
  const newest = new Map<string, PodSample>();
  for (const sample of samples) {
    if (Math.abs(now - sample.at) > tuning.staleMs) continue;
    const known = newest.get(sample.pod);
    if (known === undefined || known.at < sample.at) newest.set(sample.pod, sample);
  }
  return [...newest.values()];
}

/** Of the window only what can still be its greatest is kept. */
function noteNeed(state: ScaleState, need: ScaleState["needed"][number], windowMs: number): ScaleState {
  const needed = state.needed.filter(
    ({ at, replicas }) => need.at - at <= windowMs && replicas > need.replicas,
  );
  return { ...state, needed: [...needed, need] };
}

function mostOf({ minReplicas, maxReplicas, shards }: ScaleSpec): number {
  return Math.max(minReplicas, Math.min(maxReplicas, shards));
}

function changed(replicas: number, reason: ScaleReason, state: ScaleState, now: number): ScaleDecision {
  return { replicas, reason, state: { ...state, replicas, changedAt: now } };
}

function unchanged(state: ScaleState, reason: ScaleReason): ScaleDecision {
  return { replicas: state.replicas, reason, state };
}
