/** Runs the scenarios with their entrants in turns, prints the tables, keeps the result. Throws Error when a run of our own fails. */
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Entrant, entrantsOf, leftOutOf } from "./contenders.ts";
import { htmlReport } from "./html-report.ts";
import { describeMachine } from "./machine.ts";
import { isClean, measure, type Measurement } from "./repetition.ts";
import { describeScenario, scenarioTable, verdict } from "./report.ts";
import type { Scenario } from "./scenarios.ts";
import type { Run } from "./task.ts";

/** Each pod has a compiler of its own to get warm. */
const warmUpPerPod = 2000;
/** The slowest takes 10 s for these, and only one of them has a compiler that must get warm. */
const peerWarmUpMessages = 1000;

/** What a run of the benchmark leaves: a file in results/, the object of --json, the report. */
export interface Result {
  readonly command: string;
  readonly machine: string;
  /** ISO 8601. */
  readonly at: string;
  readonly durability: "os" | "disk";
  readonly scenarios: readonly ScenarioResult[];
  readonly measurements: readonly Measurement[];
}

export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly pods: string;
  /** Who did not take part, and why. */
  readonly leftOut: readonly string[];
}

export async function compare(
  run: Run,
  args: readonly string[],
): Promise<{ readonly measurements: readonly Measurement[]; readonly clean: boolean }> {
  const { options, say } = run;
  const all: Measurement[] = [];
  const scenarios: ScenarioResult[] = [];
  for (const scenario of options.scenarios) {
    const pods = options.podCounts.join(", ");
    say(`\n${describeScenario(scenario, pods)}`);
    const { measurements, failures } = await interleaved(run, scenario);
    all.push(...measurements);
    const leftOut = [...leftOutOf(scenario, options), ...failures];
    scenarios.push({ scenario, pods, leftOut });
    say(`\n${scenarioTable(measurements)}`);
    for (const line of leftOut) say(`left out: ${line}`);
    say(`${scenario.name}: ${verdict(measurements)}`);
  }
  const command = ["npm run bench --", ...args].join(" ");
  const at = new Date().toISOString();
  const { durability } = options;
  const result = { command, machine: await describeMachine(), at, durability, scenarios, measurements: all };
  await save(result);
  if (options.report !== undefined) {
    await writeFile(options.report, htmlReport(result));
    say(`\nreport: ${options.report}`);
  }
  if (options.json) console.log(JSON.stringify(result, null, 1));
  const count = all.reduce((sum, { messages }) => sum + messages, 0).toLocaleString("en");
  const faulty = all.filter((one) => !isClean(one));
  say(`\nagain: ${command}`);
  say(
    faulty.length === 0
      ? `Shown: ${count} messages in ${all.length} runs, each delivered exactly once.`
      : `NOT SHOWN: ids were lost or doubled by ${[...new Set(faulty.map(({ contender }) => contender))].join(", ")}, see the tables.`,
  );
  return { measurements: all, clean: faulty.every(({ isPeer }) => isPeer) };
}

/**
 * Each round runs all entrants, the order turned round from one to the next: what slows the machine slows all. A peer that fails is
 * left out from then on, as what is measured is not the peer alone.
 */
async function interleaved(
  { options, tools, say }: Run,
  scenario: Scenario,
): Promise<{ measurements: Measurement[]; failures: string[] }> {
  let entrants = entrantsOf(scenario, options);
  const measurements: Measurement[] = [];
  const failures: string[] = [];
  const runOne = async (entrant: Entrant, round: number): Promise<void> => {
    const { label, contender, isPeer, pods, scenario: own } = entrant;
    const { durability } = options;
    const warmUp = isPeer ? peerWarmUpMessages : warmUpPerPod * pods;
    const one = await measure({ tools, contender, label, isPeer, scenario: own, pods, durability, warmUp });
    measurements.push(one);
    const { audit, cpu } = one;
    say(
      `  ${round + 1} ${label}: ${Math.round(one.deliveredPerSecond)}/s, CPU-s per 1,000: ${isPeer ? "" : "pods "}${cpu.pods.toFixed(3)}${isPeer ? "" : `, nats-server ${cpu.nats.toFixed(3)}`}; p95 ${audit.latencyMs.p95.toFixed(1)} ms; load before ${one.loadBefore}`,
    );
  };
  for (let round = 0; round < options.repetitions; round++) {
    for (const entrant of round % 2 === 0 ? entrants : entrants.toReversed()) {
      try {
        await runOne(entrant, round);
      } catch (error) {
        if (!entrant.isPeer) throw error;
        const reason = error instanceof Error ? error.message : String(error);
        say(`  ${round + 1} ${entrant.label}: FAILED: ${reason}`);
        failures.push(`${entrant.label}: failed: ${reason.split("\n")[0] ?? ""}`);
        entrants = entrants.filter((one) => one !== entrant);
      }
    }
  }
  return { measurements, failures };
}

async function save(result: Result): Promise<void> {
  const folder = fileURLToPath(new URL("results/", import.meta.url));
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}${result.at.replaceAll(":", "-")}.json`, `${JSON.stringify(result, null, 1)}\n`);
}
