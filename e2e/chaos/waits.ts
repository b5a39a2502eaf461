/** How long each stream of a run's mail waited, from its 250 to its delivery. Pure. */
import { percentile } from "#bench/statistics.ts";
import type { Seen } from "./verdict.ts";

export interface Wait {
  /** How the ids of its messages begin. */
  readonly stream: string;
  readonly count: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly longestMs: number;
}

/** Of what was delivered; the slowest first. What comes before its 250 waited for nothing. */
export function waitsOf({ loads, sink }: Pick<Seen, "loads" | "sink">): readonly Wait[] {
  const waits = new Map<string, number[]>();
  for (const [id, at] of loads.flatMap(({ accepted }) => [...accepted])) {
    const arrived = sink.arrivals.get(id);
    if (arrived === undefined) continue;
    const stream = /^\D*/.exec(id)?.[0] ?? "";
    const known = waits.get(stream) ?? [];
    waits.set(stream, known);
    known.push(Math.max(0, arrived.firstAt - at));
  }
  return [...waits]
    .map(([stream, all]) => {
      const sorted = Float64Array.from(all).sort();
      const at = (share: number): number => percentile(sorted, share);
      return { stream, count: all.length, medianMs: at(0.5), p99Ms: at(0.99), longestMs: at(1) };
    })
    .sort((one, other) => other.p99Ms - one.p99Ms);
}
