/** Many messages through the product, memory sampled each second: does it stay flat? False when it grew by more than 5 % or ids were lost or doubled. */
import type { RunningPath } from "./contender.ts";
import { product } from "./product.ts";
import { isClean, measure } from "./repetition.ts";
import { describeScenario, scenarioTable } from "./report.ts";
import { spreadOf } from "./statistics.ts";
import type { Run } from "./task.ts";
import { usageOf } from "./usage.ts";

const sampleMs = 1000;
const warmUpMessages = 10_000;
/** Heaps breathe: medians of a tenth of the samples are compared, the first tenth (of a long run: the first minutes) left out. */
const part = 0.1;
const allowedGrowth = 0.05;
/** By design memory grows for so long: the ids of what was settled in the last three minutes are remembered. */
const settledSeconds = 200;
const mebibyte = 2 ** 20;

/** Resident bytes of one process, a second apart. */
interface Series {
  readonly name: string;
  readonly bytes: number[];
}

export async function soak({ options, tools, say }: Run): Promise<boolean> {
  const [scenario] = options.scenarios;
  if (scenario === undefined) return false;
  say(`\nsoak, ${describeScenario(scenario, options.pods)}`);
  let series: readonly Series[] = [];
  const measurement = await measure({
    tools,
    contender: product,
    scenario,
    pods: options.pods,
    warmUp: warmUpMessages,
    observe: (running) => {
      const sampling = startSampling(running, say);
      series = sampling.series;
      return Promise.resolve(() => {
        sampling.stop();
        return Promise.resolve();
      });
    },
  });
  say(`\n${scenarioTable([measurement])}`);
  const growths = series.map((one) => growthOf(one));
  for (const [index, { name, bytes }] of series.entries())
    say(describeSeries(name, bytes, growths[index] ?? 0));
  // nats-server keeps caches of its own that fill with what is stored; the pods are what is promised to be flat.
  const isFlat = growths.slice(0, -1).every((growth) => growth <= allowedGrowth);
  const clean = isClean(measurement);
  if (options.json) console.log(JSON.stringify({ measurement, series }));
  say(
    `Shown: ${measurement.messages.toLocaleString("en")} messages, ${clean ? "each delivered exactly once" : "IDS LOST OR DOUBLED"}; the pods' memory ${isFlat ? "stayed flat (at most +5 %)" : "GREW by more than 5 %"}.`,
  );
  return isFlat && clean;
}

function startSampling(
  running: RunningPath,
  say: (line: string) => void,
): { series: readonly Series[]; stop(): void } {
  const pids = [...running.podPids, ...(running.natsPid === undefined ? [] : [running.natsPid])];
  const series = pids.map((_, index) => ({
    name: index < running.podPids.length ? `pod ${index}` : "nats-server",
    bytes: new Array<number>(),
  }));
  const linesEvery = 30;
  const timer = setInterval(() => {
    for (const [index, pid] of pids.entries()) series[index]?.bytes.push(usageOf(pid).residentBytes);
    const count = series[0]?.bytes.length ?? 0;
    if (count % linesEvery === 0)
      say(
        `  ${count} s: ${series.map(({ name, bytes }) => `${name} ${megabytes(bytes.at(-1) ?? 0)}`).join(", ")}`,
      );
  }, sampleMs);
  return { series, stop: () => clearInterval(timer) };
}

function describeSeries(name: string, bytes: readonly number[], growth: number): string {
  const sign = growth >= 0 ? "+" : "";
  return `${name}: ${megabytes(early(bytes))} after warm-up, ${megabytes(late(bytes))} at the end (${sign}${(growth * 100).toFixed(1)} %), least ${megabytes(Math.min(...bytes))}, most ${megabytes(Math.max(...bytes))}`;
}

function growthOf({ bytes }: Series): number {
  return bytes.length === 0 ? 0 : late(bytes) / early(bytes) - 1;
}

function early(bytes: readonly number[]): number {
  const length = Math.max(1, Math.floor(bytes.length * part));
  // Short runs have no such time to give.
  const from = bytes.length > 2 * settledSeconds ? settledSeconds : length;
  return spreadOf(bytes.slice(from, from + length)).median;
}

function late(bytes: readonly number[]): number {
  return spreadOf(bytes.slice(-Math.max(1, Math.floor(bytes.length * part)))).median;
}

function megabytes(bytes: number): string {
  return `${(bytes / mebibyte).toFixed(0)} MB`;
}
