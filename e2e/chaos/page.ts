/** One page for people: the sums, and what each fault has cost. Pure. */
import type { Shown } from "./verdict.ts";

export interface Run {
  readonly seed: number;
  readonly minutes: number;
  readonly pods: number;
  readonly shown: Shown;
}

export function pageOf({ seed, minutes, pods, shown }: Run): string[] {
  const { lost, damaged, violations, faults, waits } = shown;
  const rows = faults
    .toSorted((a, b) => b.times - a.times)
    .map(({ name, times, doubled, acceptGapMs, arrivalGapMs }) => [
      name,
      String(times),
      String(doubled),
      seconds(acceptGapMs),
      seconds(arrivalGapMs),
    ]);
  return [
    `chaos: ${minutes.toFixed(1)} minutes, seed ${seed}, ${pods} pods, 3 NATS nodes, streams with 3 copies`,
    `recipients: accepted ${shown.accepted}, delivered ${shown.delivered}, bounced ${shown.bounced}; refused ${shown.refused}, unanswered ${shown.unanswered}`,
    `lost ${lost.length}, damaged ${damaged.length}, doubled ${shown.doubled} (of ${shown.bound} open in pods that were hit, ${shown.unasked} of which did not say; the earliest answered ${Math.round(shown.earliestMs)} ms before; unexplained: ${shown.unexplained.length}), limit violations ${violations.length} (not sure: ${shown.doubtful.count} of ${shown.doubtful.of}; connections of frozen processes beyond a limit: ${shown.excused})`,
    `longest pause: nothing accepted for ${seconds(shown.acceptGapMs)}, nothing arrived for ${seconds(shown.arrivalGapMs)}`,
    "",
    ...tableOf([["FAULT", "TIMES", "DOUBLED", "ACCEPTED NOTHING", "ARRIVED NOTHING"], ...rows]),
    "",
    ...tableOf([
      ["WAITED", "DELIVERED", "HALF", "99 %", "LONGEST"],
      ...waits.map((one) => [
        one.stream,
        String(one.count),
        ...[one.medianMs, one.p99Ms, one.longestMs].map(seconds),
      ]),
    ]),
    "",
  ];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function tableOf(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
}
