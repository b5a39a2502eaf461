/** What chaos has shown: sums over all ids, and what each kind of fault has cost. Pure. */
import { longestGap } from "#e2e/kit/gaps.ts";
import type { Sent } from "#e2e/kit/audit.ts";
import type { Sink } from "#e2e/kit/sink.ts";
import { type Double, isForgotten, mostOpen, owedTo, transactionsOf } from "./owed.ts";
import { type Doubtful, tooDoubtful } from "./limit-watch.ts";
import type { Struck } from "./schedule.ts";
import { type Wait, waitsOf } from "./waits.ts";

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
  /** How many transactions pods that were hit had open by their own word. */
  readonly bound: number;
  /** Pods that were hit and had not said how many they had open. */
  readonly unasked: number;
  /** Doubles that no fault explains. */
  readonly unexplained: readonly string[];
  /** Of what came twice: the longest time from the reply to a first copy to the fault of its pod that explains it, ms. */
  readonly earliestMs: number;
  /** Faults that cost more than their pod had open. */
  readonly excessive: readonly string[];
  readonly violations: readonly string[];
  readonly doubtful: Doubtful;
  /** Connections beyond a limit that were those of a process frozen past its leases. */
  readonly excused: number;
  readonly kills: number;
  readonly acceptGapMs: number;
  readonly arrivalGapMs: number;
  readonly faults: readonly FaultCost[];
  readonly waits: readonly Wait[];
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
  readonly sink: Pick<Sink, "arrivals" | "refused" | "returned" | "damaged" | "begun">;
  readonly struck: readonly Struck[];
  readonly violations: readonly string[];
  readonly doubtful: Doubtful;
  readonly excused: number;
  /** The time in which mail was sent, by `performance.now()`. */
  readonly from: number;
  readonly to: number;
}

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
  const owed = doubles.map((double) => owing(double, seen));
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
    bound: struck.reduce((sum, one) => sum + (mostOpen(one, sink.begun) ?? 0), 0),
    unasked: struck.filter(({ pod }) => pod !== undefined && pod.inFlight === undefined).length,
    unexplained: owed.flatMap(({ faults, double }) => (faults === undefined ? [told(double, from)] : [])),
    earliestMs: Math.max(0, ...owed.flatMap(leadsOf)),
    excessive: excessiveOf(owed, seen),
    violations: seen.violations,
    doubtful: seen.doubtful,
    excused: seen.excused,
    kills: struck.filter(({ kind }) => kind.isKill === true).length,
    acceptGapMs: longestGap(accepts, { from, to }),
    arrivalGapMs: longestGap(arrivals, { from, to }),
    faults: costsOf(struck, { owed, accepts, arrivals, to }),
    waits: waitsOf(seen),
  };
}

/** A message that was refused twice is no harm to anybody; a report that comes twice is mail that comes twice. */
function doublesOf({ arrivals, returned }: Seen["sink"]): Double[] {
  const twice = [...arrivals].flatMap(([id, { copies }]) => (copies.length > 1 ? [{ id, copies }] : []));
  const reports = [...returned].flatMap(([id, { copies }]) =>
    copies.length > 1 ? [{ id: reportOf(id), copies }] : [],
  );
  return [...twice, ...reports];
}

const reportOf = (id: string): string => `report of ${id}`;

interface Owed {
  readonly double: Double;
  /** Of each copy but the last; undefined = nothing explains it. */
  readonly faults: readonly Struck[] | undefined;
}

/** A report comes twice when it is sent twice, or when its message was refused twice: it is published before that is deleted. */
function owing(double: Double, { sink, struck }: Seen): Owed {
  const faults = owedTo(double, struck);
  if (faults !== undefined) return { double, faults };
  const refused = [...sink.refused].find(([id]) => reportOf(id) === double.id)?.[1];
  if (refused === undefined || refused.count < double.copies.length) return { double, faults };
  const twice = { id: double.id, copies: refused.copies };
  return { double: twice, faults: owedTo(twice, struck) };
}

/** How long before its fault each copy was answered. */
function leadsOf({ double, faults = [] }: Owed): number[] {
  return faults.map(({ at }, index) => at - (double.copies[index]?.at ?? at));
}

/** Enough to look for it: who sent it when, after the start of the load. */
function told({ id, copies }: Double, from: number): string {
  const when = copies.map(
    ({ begunAt, at, by }) => `${by} at ${seconds(begunAt - from)} to ${seconds(at - from)} s`,
  );
  return `${id} (${when.join(", ")})`;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

function excessiveOf(owed: readonly Owed[], { sink, struck, from }: Seen): string[] {
  return struck.flatMap((one) => {
    const most = mostOpen(one, sink.begun);
    const charged = owed.flatMap(({ double, faults }) =>
      double.copies.flatMap((copy, index) => (faults?.[index] === one ? [{ double, copy }] : [])),
    );
    const open = charged.filter(({ double, copy }) => !isForgotten(copy, { double, one, struck }));
    const cost = transactionsOf(open.map(({ copy }) => copy));
    return most === undefined || cost <= most
      ? []
      : [
          `${one.kind.name}: ${one.what} at ${seconds(one.at - from)} s: ${cost} doubled, at most ${most} were open: ${[...new Set(charged.map(({ double }) => told(double, from)))].join(", ")}`,
        ];
  });
}

interface Times {
  readonly owed: readonly Owed[];
  readonly accepts: readonly number[];
  readonly arrivals: readonly number[];
  readonly to: number;
}

function costsOf(struck: readonly Struck[], { owed, accepts, arrivals, to }: Times): FaultCost[] {
  const charged = owed.map(({ faults }) => faults?.[0]?.kind.name);
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
      doubled: charged.filter((one) => one === name).length,
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
    ...some("faults that doubled more than was open", shown.excessive),
    ...tooDoubtful(shown.doubtful),
    ...(shown.refusedForGood > 0 ? [`${shown.refusedForGood} refused with 5xx by trouble of our own`] : []),
    ...(shown.accepted === 0 ? ["nothing was accepted"] : []),
  ];
}
