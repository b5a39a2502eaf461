/** What chaos has shown: sums over all ids, and what each kind of fault has cost. Pure. */
import { longestGap } from "#e2e/kit/gaps.ts";
import type { Sent } from "#e2e/kit/audit.ts";
import type { Sink } from "#e2e/kit/sink.ts";
import type { Struck } from "./schedule.ts";

export interface Shown {
  readonly accepted: number;
  readonly delivered: number;
  /** Refused for good by their hosts, and their senders were told. */
  readonly bounced: number;
  readonly refused: number;
  /** Of those refused: with a 5xx, which trouble of our own never is. */
  readonly refusedForGood: number;
  readonly unanswered: number;
  readonly lost: readonly string[];
  readonly damaged: readonly string[];
  readonly doubled: number;
  /** How many could be open when something happened to a pod. */
  readonly bound: number;
  /** Doubles that no fault explains. */
  readonly unexplained: readonly string[];
  readonly violations: readonly string[];
  readonly doubtfulSeconds: number;
  readonly kills: number;
  readonly acceptGapMs: number;
  readonly arrivalGapMs: number;
  readonly faults: readonly FaultCost[];
}

interface FaultCost {
  readonly name: string;
  readonly times: number;
  readonly doubled: number;
  readonly acceptGapMs: number;
  readonly arrivalGapMs: number;
}

export interface Seen {
  readonly loads: readonly Sent[];
  readonly sink: Pick<Sink, "arrivals" | "refused" | "returned" | "damaged">;
  readonly struck: readonly Struck[];
  readonly violations: readonly string[];
  readonly doubtfulSeconds: number;
  /** The time in which mail was sent, by `performance.now()`. */
  readonly from: number;
  readonly to: number;
}

/** What was answered longer before a fault than this was not open: its delete was acknowledged, or the pod had stopped. */
const openMs = 1500;
/** A pod that is cut off stops a second after its first delete without an answer; what waits for a reply then may take longer. */
const afterMs = 15_000;
/** Pauses that begin so long after a fault are still owed to it: an election takes 4 to 9 s. */
const aftermathMs = 10_000;

export function judge(seen: Seen): Shown {
  const { loads, sink, struck, from, to } = seen;
  const accepted = loads.flatMap((load) => [...load.accepted.keys()]);
  const isBounced = (id: string): boolean => sink.refused.has(id) && sink.returned.has(id);
  const doubles = doublesOf(sink);
  const accepts = loads.flatMap((load) => [...load.accepted.values()]);
  const arrivals = [...sink.arrivals.values()].map(({ firstAt }) => firstAt);
  const refusals = loads.flatMap((load) => load.refused);
  const costs = struck.filter(({ kind }) => kind.cost === "pod");
  return {
    accepted: accepted.length,
    delivered: accepted.filter((id) => sink.arrivals.has(id)).length,
    bounced: accepted.filter(isBounced).length,
    refused: refusals.length,
    refusedForGood: refusals.filter(({ code }) => code >= 500).length,
    unanswered: loads.reduce((sum, load) => sum + load.uncertain.size, 0),
    lost: accepted.filter((id) => !sink.arrivals.has(id) && !isBounced(id)),
    damaged: sink.damaged,
    doubled: doubles.length,
    bound: costs.reduce((sum, { open }) => sum + open, 0),
    unexplained: doubles.filter((double) => owedTo(double, struck) === undefined).map(({ id }) => id),
    violations: seen.violations,
    doubtfulSeconds: seen.doubtfulSeconds,
    kills: struck.filter(({ kind }) => kind.isKill === true).length,
    acceptGapMs: longestGap(accepts, { from, to }),
    arrivalGapMs: longestGap(arrivals, { from, to }),
    faults: costsOf(struck, { doubles, accepts, arrivals, to }),
  };
}

interface Double {
  readonly id: string;
  readonly firstAt: number;
  readonly lastAt: number;
}

/** A message that was refused twice is no harm to anybody; a report that comes twice is mail that comes twice. */
function doublesOf({ arrivals, returned }: Seen["sink"]): Double[] {
  const twice = [...arrivals].flatMap(([id, { count, firstAt, lastAt }]) =>
    count > 1 ? [{ id, firstAt, lastAt }] : [],
  );
  const reports = [...returned].flatMap(([id, count]) =>
    count > 1 ? [{ id: `report of ${id}`, firstAt: Number.NaN, lastAt: Number.NaN }] : [],
  );
  return [...twice, ...reports];
}

/** The fault of a pod that came while the first copy was open, the last before the second copy. */
function owedTo({ firstAt, lastAt }: Double, struck: readonly Struck[]): Struck | undefined {
  // Reports are published before their message is deleted: they are not timed here, and owed to any fault.
  if (Number.isNaN(firstAt)) return struck.find(({ kind }) => kind.cost === "pod");
  const nats = struck.filter(({ kind }) => kind.cost === "nats");
  return struck.findLast(({ kind, at, until }) => {
    if (kind.cost !== "pod" || at > lastAt) return false;
    // While NATS was away no delete was acknowledged, so all that went since its fault began was still open.
    const since = nats.filter((one) => one.at < at && one.until + aftermathMs > at).map((one) => one.at);
    return firstAt > Math.min(at, ...since) - openMs && firstAt < Math.max(at, until) + afterMs;
  });
}

interface Times {
  readonly doubles: readonly Double[];
  readonly accepts: readonly number[];
  readonly arrivals: readonly number[];
  readonly to: number;
}

function costsOf(struck: readonly Struck[], { doubles, accepts, arrivals, to }: Times): FaultCost[] {
  const owed = doubles.map((double) => owedTo(double, struck)?.kind.name);
  const sortedAccepts = accepts.toSorted((a, b) => a - b);
  const sortedArrivals = arrivals.toSorted((a, b) => a - b);
  const names = [...new Set(struck.map(({ kind }) => kind.name))];
  return names.map((name) => {
    const own = struck.filter(({ kind }) => kind.name === name);
    const longest = (sorted: readonly number[]): number =>
      Math.max(
        ...own.map(({ at, until }) => {
          const end = Math.min(to, until + aftermathMs);
          return longestGap(between(sorted, at, end), { from: at, to: Math.max(at, end) });
        }),
      );
    return {
      name,
      times: own.length,
      doubled: owed.filter((one) => one === name).length,
      acceptGapMs: longest(sortedAccepts),
      arrivalGapMs: longest(sortedArrivals),
    };
  });
}

/** Binary search: an hour has hundreds of thousands of times, and hundreds of faults. */
function between(sorted: readonly number[], from: number, to: number): readonly number[] {
  return sorted.slice(firstAbove(sorted, from), firstAbove(sorted, to));
}

function firstAbove(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What is not as it must be, one line each; none = all is shown. */
export function failures(shown: Shown): string[] {
  const some = (what: string, ids: readonly string[]): string[] =>
    ids.length === 0 ? [] : [`${ids.length} ${what}: ${ids.slice(0, 5).join(", ")}`];
  return [
    ...some("lost", shown.lost),
    ...some("damaged", shown.damaged),
    ...some("limit violations", shown.violations),
    ...some("doubled without a fault", shown.unexplained),
    ...(shown.doubled > shown.bound ? [`${shown.doubled} doubled, at most ${shown.bound} were open`] : []),
    ...(shown.refusedForGood > 0 ? [`${shown.refusedForGood} refused with 5xx by trouble of our own`] : []),
    ...(shown.accepted === 0 ? ["nothing was accepted"] : []),
  ];
}
