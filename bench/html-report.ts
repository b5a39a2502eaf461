/** The result of a run as one HTML file that needs nothing else: facts, plots, tables, the command that repeats it. Pure. */
import type { Result, ScenarioResult } from "./compare.ts";
import { barPlot, escapeXml, rangePlot } from "./plots.ts";
import type { Measurement } from "./repetition.ts";
import { describeScenario, pathCpu, scenarioRows, verdict } from "./report.ts";
import { spreadOf } from "./statistics.ts";

const style = `body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1,h2{line-height:1.2}h2{margin-top:3rem}svg{display:block;max-width:100%;height:auto;font:12px system-ui,sans-serif}
table{border-collapse:collapse;margin:1rem 0;font-size:13px}td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #e4e4e4}
td:first-child,th:first-child{text-align:left}pre{background:#f4f4f4;padding:.8rem;overflow-x:auto}
figure{margin:1.2rem 0}figcaption{font-weight:600;font-size:14px}.quiet{color:#666}`;
const mebibyte = 2 ** 20;
/** A logarithmic axis has no zero. */
const leastMs = 0.01;

export function htmlReport(result: Result): string {
  const { command, machine, at, durability, scenarios, measurements } = result;
  const loads = measurements.map(({ loadBefore }) => loadBefore);
  const { median, least, most } = spreadOf(loads);
  const kept =
    durability === "os"
      ? "Mail is kept in the page cache, no sync, the same for all."
      : "Each message is on the disk before its 250, the same for all.";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mailboat benchmark, ${escapeXml(at.slice(0, 10))}</title><style>${style}</style></head><body>
<h1>Mailboat benchmark</h1>
<p>${escapeXml(at)} · ${escapeXml(machine)} · load average before the runs ${median} (${least}–${most})</p>
<p>${kept} The generator and the sink share the machine; their CPU time is not the path's. Runs of one scenario were interleaved: bars are
medians, dots are single runs. Compare within one scenario, not across machines or days.</p>
<p>Again:</p><pre>${escapeXml(command)}</pre>
${scenarios.map((one) => section(one, measurements)).join("\n")}
</body></html>
`;
}

function section({ scenario, pods, leftOut }: ScenarioResult, all: readonly Measurement[]): string {
  const runs = all.filter((one) => one.scenario === scenario.name);
  const names = [...new Set(runs.map(({ contender }) => contender))];
  const bars = (title: string, digits: number, read: (run: Measurement) => number): string => {
    const rows = names.map((label) => ({
      label,
      values: runs.filter(({ contender }) => contender === label).map(read),
    }));
    return figure(title, barPlot(rows, digits));
  };
  const latencies = names.map((label) => {
    const own = runs.filter(({ contender }) => contender === label);
    const median = (read: (run: Measurement) => number): number =>
      Math.max(leastMs, spreadOf(own.map(read)).median);
    return {
      label,
      marks: [
        median(({ audit }) => audit.latencyMs.p50),
        median(({ audit }) => audit.latencyMs.p95),
        median(({ audit }) => audit.latencyMs.p99),
      ],
    };
  });
  const notes = leftOut.map((line) => `<p class="quiet">Left out: ${escapeXml(line)}</p>`).join("\n");
  if (names.length === 0)
    return `<h2>${escapeXml(scenario.name)}</h2>\n<p>Nothing was measured.</p>\n${notes}`;
  return `<h2>${escapeXml(scenario.name)}</h2>
<p>${escapeXml(describeScenario(scenario, pods))}</p>
<p><strong>${escapeXml(verdict(runs))}</strong></p>
${bars("CPU-seconds per 1,000 messages, all processes of the path (less is better)", 3, pathCpu)}
${bars("Delivered, messages a second", 0, (run) => run.deliveredPerSecond)}
${figure("Accepted → delivered, ms: p50, p95, p99 (logarithmic)", rangePlot(latencies))}
${bars("Memory of all processes of the path at the end, MB", 0, ({ memoryBytes }) => memoryBytes / mebibyte)}
${table(scenarioRows(runs))}
${notes}`;
}

function figure(title: string, content: string): string {
  return `<figure><figcaption>${escapeXml(title)}</figcaption>${content}</figure>`;
}

function table([header = [], ...body]: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[], tag: "td" | "th"): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join("")}</tr>`;
  return `<table>${row(header, "th")}${body.map((cells) => row(cells, "td")).join("")}</table>`;
}
