/** Where the pods' CPU time goes under load: by stage, by file, by function. Prints; throws Error when the run or the profiler fails. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { attribute, type Sample } from "./attribution.ts";
import { startChild } from "./child.ts";
import type { RunningPath } from "./contender.ts";
import { readCpuProfiles } from "./cpu-profiles.ts";
import { perfProgram, readPerfSamples } from "./perf-samples.ts";
import { product } from "./product.ts";
import { measure, type Measurement } from "./repetition.ts";
import { describeScenario } from "./report.ts";
import type { Run } from "./task.ts";

/** Compilers are done with the hot paths by then. */
const warmUpMessages = 10_000;
const perfStartMs = 500;
const samplesPerSecond = 1500;

interface Profiled {
  readonly measurement: Measurement;
  readonly samples: Sample[];
}

export async function profile({ options, tools, say }: Run): Promise<boolean> {
  const [scenario] = options.scenarios;
  if (scenario === undefined) return false;
  const withPerf = await hasPerf();
  say(`\nprofile of ${describeScenario(scenario, options.pods)}`);
  say(
    withPerf
      ? "perf, cpu-clock: CPU time, the kernel and helper threads included"
      : "no perf here: V8's profiler, main threads only, start included, and wall time: a write that gave the CPU away looks long",
  );
  const folder = await mkdtemp(join(tmpdir(), "mailboat-profile-"));
  try {
    const common = { tools, contender: product, scenario, pods: options.pods, warmUp: warmUpMessages };
    const { measurement, samples } = withPerf ? await byPerf(common, folder) : await byV8(common, folder);
    const { cpu } = measurement;
    say(
      `pods ${cpu.pods.toFixed(3)} CPU-s per 1,000 messages (with the profiler's own cost), nats-server ${cpu.nats.toFixed(3)}; ${samples.length} samples`,
    );
    const perMessage = cpu.pods * 1000;
    for (const { title, lines } of attribute(samples)) {
      say(`\n${title}, µs a message`);
      for (const { name, share } of lines)
        say(
          `${(share * perMessage).toFixed(1).padStart(7)}  ${(share * 100).toFixed(1).padStart(5)} %  ${name}`,
        );
    }
    return true;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type MeasureOptions = Parameters<typeof measure>[0];

async function byPerf(common: MeasureOptions, folder: string): Promise<Profiled> {
  const file = join(folder, "perf.data");
  let pids: readonly number[] = [];
  const observe = async (running: RunningPath): Promise<() => Promise<void>> => {
    pids = running.podPids;
    const args = [
      "record",
      "-e",
      "cpu-clock",
      "-F",
      samplesPerSecond,
      "-g",
      "-o",
      file,
      "-p",
      pids.join(","),
    ];
    const perf = startChild(perfProgram, args.map(String), { onError: () => {} });
    await delay(perfStartMs);
    return async () => {
      perf.signal("SIGINT");
      await perf.exited;
    };
  };
  const env = { ...process.env, NODE_OPTIONS: "--perf-basic-prof" };
  const measurement = await measure({ ...common, env, observe });
  const samples = await readPerfSamples(file);
  // V8 leaves its symbols there, where perf looks for them.
  await Promise.all(pids.map((pid) => rm(`/tmp/perf-${pid}.map`, { force: true })));
  return { measurement, samples };
}

async function byV8(common: MeasureOptions, folder: string): Promise<Profiled> {
  const env = { ...process.env, NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}` };
  const measurement = await measure({ ...common, env });
  return { measurement, samples: await readCpuProfiles(folder) };
}

async function hasPerf(): Promise<boolean> {
  // Also when it is there, the kernel may forbid it.
  const args = ["record", "-e", "cpu-clock", "-o", "/dev/null", "--", "true"];
  return promisify(execFile)(perfProgram, args).then(
    () => true,
    () => false,
  );
}
