/** `npm run bench`: builds the tools, runs scenarios, soak or profile, prints. Exit 1 when an id was lost or doubled, or a run failed. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { buildTools } from "./build.ts";
import { stopChildren } from "./child.ts";
import type { Contender } from "./contender.ts";
import { compareRatios, ratiosOf, readRatios } from "./guard.ts";
import { describeMachine, loadAverage } from "./machine.ts";
import { readOptions, usage } from "./options.ts";
import { product } from "./product.ts";
import { profile } from "./profile.ts";
import { isClean, measure, type Measurement } from "./repetition.ts";
import { describeScenario, scenarioTable, verdict } from "./report.ts";
import type { Scenario } from "./scenarios.ts";
import { soak } from "./soak.ts";
import { stock } from "./stock.ts";
import type { Run } from "./task.ts";

const warmUpMessages = 4000;
const contenders: Readonly<Record<"mailboat" | "stock", Contender>> = { mailboat: product, stock };

async function main(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args);
  if (options.task === "help") {
    console.log(usage);
    return true;
  }
  // With --json, standard output is for the object alone.
  const say = options.json ? console.error : console.log;
  const tools = await buildTools();
  say(`${await describeMachine()}; load average ${await loadAverage()}; ${new Date().toISOString()}`);
  say(
    "nats-server keeps mail in the page cache (no sync), the same for all; the generator and the sink share the machine",
  );
  const run = { options, tools, say };
  switch (options.task) {
    case "soak":
      return soak(run);
    case "profile":
      return profile(run);
    case "compare":
      return (await compare(run, args)).clean;
    case "check":
      return check(run, args);
    default:
      return options.task satisfies never;
  }
}

/** Whether nothing is dearer than it was, and no id was lost or doubled. */
async function check(run: Run, args: readonly string[]): Promise<boolean> {
  const { options, say } = run;
  const committed = readRatios(await readFile(new URL("ratios.json", import.meta.url), "utf8"));
  const { measurements, clean } = await compare(run, args);
  let isOk = clean;
  for (const { name } of options.scenarios) {
    const runs = measurements.filter(({ scenario }) => scenario === name);
    const { lines, ok } = compareRatios(name, ratiosOf(runs), committed[name]);
    for (const line of lines) say(line);
    isOk &&= ok;
  }
  say(isOk ? "Shown: nothing is dearer than committed." : "NOT SHOWN: dearer than committed, see above.");
  return isOk;
}

async function compare(
  run: Run,
  args: readonly string[],
): Promise<{ readonly measurements: readonly Measurement[]; readonly clean: boolean }> {
  const { options, say } = run;
  const all: Measurement[] = [];
  for (const scenario of options.scenarios) {
    say(`\n${describeScenario(scenario, options.pods)}`);
    const measurements = await interleaved(run, scenario);
    all.push(...measurements);
    say(`\n${scenarioTable(measurements)}`);
    say(`${scenario.name}: ${verdict(measurements)}`);
  }
  const clean = all.every(isClean);
  const command = ["npm run bench --", ...args].join(" ");
  await save({ command, machine: await describeMachine(), at: new Date().toISOString(), measurements: all });
  if (options.json) console.log(JSON.stringify({ command, measurements: all }, null, 1));
  const count = all.reduce((sum, { messages }) => sum + messages, 0).toLocaleString("en");
  say(`\nagain: ${command}`);
  say(
    clean
      ? `Shown: ${count} messages in ${all.length} runs, each delivered exactly once.`
      : "NOT SHOWN: ids were lost or doubled, see the tables.",
  );
  return { measurements: all, clean };
}

interface Result {
  readonly command: string;
  readonly machine: string;
  readonly at: string;
  readonly measurements: readonly Measurement[];
}

/** Each round runs all contenders, the order turned round from one to the next: what slows the machine slows all. */
async function interleaved(run: Run, scenario: Scenario): Promise<Measurement[]> {
  const { options, tools, say } = run;
  const names = scenario.contenders.filter((name) => options.only === undefined || options.only === name);
  const measurements: Measurement[] = [];
  for (let round = 0; round < options.repetitions; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const one = await measure({
        tools,
        contender: contenders[name],
        scenario,
        pods: options.pods,
        warmUp: warmUpMessages,
      });
      measurements.push(one);
      const { audit, cpu } = one;
      say(
        `  ${round + 1} ${name}: ${Math.round(one.deliveredPerSecond)}/s, CPU-s per 1,000: pods ${cpu.pods.toFixed(3)}, nats-server ${cpu.nats.toFixed(3)}; p95 ${audit.latencyMs.p95.toFixed(1)} ms; load before ${one.loadBefore}`,
      );
    }
  }
  return measurements;
}

async function save(result: Result): Promise<void> {
  const folder = fileURLToPath(new URL("results/", import.meta.url));
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}${result.at.replaceAll(":", "-")}.json`, `${JSON.stringify(result, null, 1)}\n`);
}

let isInterrupted = false;
process.on("exit", stopChildren);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    isInterrupted = true;
    stopChildren();
    process.once(signal, () => process.exit(130));
  });
}
try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  console.error(isInterrupted ? "interrupted" : error instanceof Error ? error.message : String(error));
  process.exitCode = isInterrupted ? 130 : 1;
}
