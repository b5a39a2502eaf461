/** Measurements as text: a table per scenario, a line per contender, a verdict. Pure. */
import type { Measurement } from "./repetition.ts";
import type { Scenario } from "./scenarios.ts";
import { type Spread, spreadOf } from "./statistics.ts";

interface Row {
  readonly label: string;
  readonly digits: number;
  /** Undefined = it has no such thing. */
  read(measurement: Measurement): number | undefined;
}

const mebibyte = 2 ** 20;
const most = (values: readonly number[]): number => Math.max(...values);

const rows: readonly Row[] = [
  { label: "delivered, messages/s", digits: 0, read: (one) => one.deliveredPerSecond },
  { label: "accepted, messages/s", digits: 0, read: (one) => one.acceptedPerSecond },
  { label: "CPU-s per 1,000: pods", digits: 3, read: ({ cpu, isPeer }) => (isPeer ? undefined : cpu.pods) },
  {
    label: "CPU-s per 1,000: nats-server",
    digits: 3,
    read: ({ cpu, isPeer }) => (isPeer ? undefined : cpu.nats),
  },
  { label: "CPU-s per 1,000: all of the path", digits: 3, read: pathCpu },
  { label: "  (generator)", digits: 3, read: ({ cpu }) => cpu.generator },
  { label: "  (sink)", digits: 3, read: ({ cpu }) => cpu.sink },
  {
    label: "RSS of the largest process (not nats-server), MB",
    digits: 0,
    read: ({ podBytes }) => most(podBytes.map((pod) => pod.resident)) / mebibyte,
  },
  {
    label: "  its peak, MB",
    digits: 0,
    read: ({ podBytes }) => most(podBytes.map((pod) => pod.peak)) / mebibyte,
  },
  {
    label: "memory of all processes (PSS), MB",
    digits: 0,
    read: ({ memoryBytes }) => memoryBytes / mebibyte,
  },
  { label: "RSS of nats-server, MB", digits: 0, read: ({ natsBytes }) => scaled(natsBytes, mebibyte) },
  {
    label: "nats-server wrote, KB a message",
    digits: 1,
    read: (one) => scaled(one.writtenBytesPerMessage, 1024),
  },
  { label: "accepted → delivered, ms: p50", digits: 1, read: ({ audit }) => audit.latencyMs.p50 },
  { label: "  p95", digits: 1, read: ({ audit }) => audit.latencyMs.p95 },
  { label: "  p99", digits: 1, read: ({ audit }) => audit.latencyMs.p99 },
  {
    label: "collections of garbage over 50 ms, all pods",
    digits: 0,
    read: ({ longCollections }) => longCollections,
  },
];

function scaled(value: number | undefined, unit: number): number | undefined {
  return value === undefined ? undefined : value / unit;
}

/** CPU-seconds per 1,000 messages of everything that a user would have to run. */
export function pathCpu({ cpu }: Measurement): number {
  return cpu.pods + cpu.nats;
}

export function describeScenario(scenario: Scenario, pods: number | string): string {
  const { name, about, messages, bytes, connections, ratePerSecond } = scenario;
  const pace = ratePerSecond > 0 ? `at ${ratePerSecond}/s` : "unpaced";
  return `${name}: ${about}; ${messages.toLocaleString("en")} messages of ${bytes} bytes ${pace}, ${connections} connections, ${pods} pods`;
}

export function scenarioTable(measurements: readonly Measurement[]): string {
  return alignedTable(scenarioRows(measurements));
}

/** A column per contender, under a line of headings: the median, and in brackets the least and the most of its runs. */
export function scenarioRows(measurements: readonly Measurement[]): string[][] {
  const names = [...new Set(measurements.map(({ contender }) => contender))];
  const runsOf = (name: string): Measurement[] => measurements.filter(({ contender }) => contender === name);
  const cells = rows.map((row) => [row.label, ...names.map((name) => cell(row, runsOf(name)))]);
  const auditRow = ["each id exactly once", ...names.map((name) => auditCell(runsOf(name)))];
  const header = ["median (least–most)", ...names.map((name) => `${name}, ${runsOf(name).length} runs`)];
  return [header, ...cells, auditRow];
}

function cell(row: Row, runs: readonly Measurement[]): string {
  const values = runs.flatMap((run) => row.read(run) ?? []);
  if (values.length === 0) return "–";
  const { median, least, most: highest } = spreadOf(values);
  const text = (value: number): string =>
    value.toLocaleString("en", { minimumFractionDigits: row.digits, maximumFractionDigits: row.digits });
  return runs.length === 1 ? text(median) : `${text(median)} (${text(least)}–${text(highest)})`;
}

function auditCell(runs: readonly Measurement[]): string {
  const sum = (read: (run: Measurement) => number): number =>
    runs.reduce((total, run) => total + read(run), 0);
  const faults = [
    ["lost", sum(({ audit }) => audit.lost)],
    ["doubled", sum(({ audit }) => audit.duplicates)],
    ["never accepted", sum(({ audit }) => audit.unasked)],
    ["without an id", sum(({ audit }) => audit.unstamped)],
  ] as const;
  const found = faults.filter(([, count]) => count > 0).map(([what, count]) => `${count} ${what}`);
  return found.length > 0
    ? found.join(", ")
    : `yes, all ${sum(({ messages }) => messages).toLocaleString("en")}`;
}

/** GitHub's Markdown, aligned: it reads as well in a terminal as in a README. */
function alignedTable(cells: readonly (readonly string[])[]): string {
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const [header = [], ...body] = cells;
  const rule = `|${widths.map((width, column) => (column === 0 ? `:${"-".repeat(width + 1)}` : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(header), rule, ...body.map(line)].join("\n");
}

/** The first contender beside the others, by medians. */
export function verdict(measurements: readonly Measurement[]): string {
  const names = [...new Set(measurements.map(({ contender }) => contender))];
  const [first, ...others] = names.map((name) => {
    const runs = measurements.filter(({ contender }) => contender === name);
    const median = (read: (run: Measurement) => number): Spread["median"] => spreadOf(runs.map(read)).median;
    return {
      name,
      cpu: median(pathCpu),
      rate: median((run) => run.deliveredPerSecond),
      p95: median(({ audit }) => audit.latencyMs.p95),
    };
  });
  if (first === undefined) return "nothing was measured";
  const own = `${first.name} ${first.cpu.toFixed(3)} CPU-s per 1,000, ${Math.round(first.rate)} messages/s, p95 ${first.p95.toFixed(1)} ms`;
  const beside = others.map(
    ({ name, cpu, rate }) =>
      `${name} cost ${(cpu / first.cpu).toFixed(2)} × that at ${Math.round(rate)} messages/s`,
  );
  return [own, ...beside].join("; ");
}
