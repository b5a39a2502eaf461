import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Result } from "#bench/compare.ts";
import { htmlReport } from "#bench/html-report.ts";
import type { Measurement } from "#bench/repetition.ts";
import { scenarios } from "#bench/scenarios.ts";

const run = (contender: string, pods: number, isPeer: boolean): Measurement => ({
  contender,
  isPeer,
  scenario: "burst",
  messages: 1000,
  loadBefore: 1.5,
  deliveredPerSecond: 2000,
  acceptedPerSecond: 2100,
  cpu: { pods, nats: isPeer ? 0 : 0.1, generator: 0.01, sink: 0.01 },
  podBytes: [{ resident: 1e8, peak: 2e8 }],
  memoryBytes: 3e8,
  natsBytes: isPeer ? undefined : 1e8,
  writtenBytesPerMessage: isPeer ? undefined : 12_000,
  longCollections: isPeer ? undefined : 2,
  maxLagMs: 0,
  audit: {
    delivered: 1000,
    lost: isPeer ? 3 : 0,
    unasked: 0,
    latencyMs: { p50: 0, p95: 20, p99: 40, most: 50 },
    duplicates: 0,
    unstamped: 0,
    uncertain: 0,
  },
  sink: {
    messages: 1000,
    recipients: 1000,
    mostOpen: 1,
    unstamped: 0,
    complete: 1000,
    duplicates: 0,
    deferred: 0,
    signed: 0,
    busiestSecond: 1000,
    lastAt: 1,
  },
});

const [burst] = scenarios;
const result: Result = {
  command: 'npm run bench -- --scenario burst --kumod "/opt/<kumod>"',
  machine: "2 × a processor",
  at: "2026-11-29T02:00:00.000Z",
  durability: "os",
  scenarios:
    burst === undefined ? [] : [{ scenario: burst, pods: "2", leftOut: ["kumomta: no --kumod PATH"] }],
  measurements: [run("mailboat", 0.2, false), run("mailboat", 0.4, false), run("postfix", 2.5, true)],
};

describe("the report of bench", () => {
  const html = htmlReport(result);

  test("stands alone, and tells the command, the machine and the load", () => {
    assert.doesNotMatch(html, /<script|<link|src=|href=/);
    assert.match(html, /--kumod &quot;\/opt\/&lt;kumod&gt;&quot;/);
    assert.match(html, /load average before the runs 1\.5/);
    assert.match(html, /Left out: kumomta: no --kumod PATH/);
  });

  test("draws the median of the runs, and each run", () => {
    // 0.3 + 0.1 for nats-server; the bar of 2.5 is the longest.
    assert.match(html, />0\.400<\/text>/);
    const [cpu = ""] = html.split("Delivered, messages a second");
    assert.equal(cpu.match(/<circle/g)?.length, 3);
    assert.doesNotMatch(html, /NaN|Infinity|undefined/);
  });

  test("shows a peer without nats-server, and what it lost", () => {
    assert.match(html, /<td>nats-server wrote, KB a message<\/td><td>11\.7 \(11\.7–11\.7\)<\/td><td>–<\/td>/);
    assert.match(html, /<td>3 lost<\/td>/);
  });
});
