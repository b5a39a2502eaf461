/** One run of one contender: start, warm up, load, wait until all is delivered, measure, stop, audit. Throws Error when it stalls. */
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Audit, audit } from "./audit.ts";
import type { Tools } from "./build.ts";
import type { Contender, Durability, RunningPath } from "./contender.ts";
import { generate } from "./generator.ts";
import { makeKeys, type RunKeys } from "./keys.ts";
import { slowDomain } from "./resources.ts";
import type { Scenario } from "./scenarios.ts";
import { type Sink, type SinkCounts, startSink } from "./sink.ts";
import { cpuSecondsOf, proportionalBytes, type Usage, usageOf } from "./usage.ts";

export interface RunOptions {
  readonly tools: Tools;
  readonly contender: Contender;
  /** Its name in the tables; default the contender's. */
  readonly label?: string;
  readonly isPeer?: boolean;
  readonly scenario: Scenario;
  readonly pods: number;
  /** Default "os". */
  readonly durability?: Durability;
  /** Messages before the measurement. */
  readonly warmUp: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Called when the path is warm; what it returns, when the load is over and the processes still run. */
  readonly observe?: (running: RunningPath) => Promise<() => Promise<void>>;
}

export interface Measurement {
  readonly contender: string;
  /** Neither the product nor the stock path. */
  readonly isPeer: boolean;
  readonly scenario: string;
  readonly messages: number;
  /** Of the machine, over the last minute, before the start. */
  readonly loadBefore: number;
  /** From the first connection to the last delivery. */
  readonly deliveredPerSecond: number;
  readonly acceptedPerSecond: number;
  /** CPU-seconds per 1,000 messages. */
  readonly cpu: {
    readonly pods: number;
    readonly nats: number;
    readonly generator: number;
    readonly sink: number;
  };
  readonly podBytes: readonly { readonly resident: number; readonly peak: number }[];
  /** Of all processes of the path, shared pages counted once. */
  readonly memoryBytes: number;
  /** Undefined for a peer without nats-server, as what it writes is. */
  readonly natsBytes: number | undefined;
  readonly writtenBytesPerMessage: number | undefined;
  /** Collections of garbage of more than 50 ms in the pods; undefined = not known. */
  readonly longCollections: number | undefined;
  readonly maxLagMs: number;
  readonly audit: Audit & {
    readonly duplicates: number;
    readonly unstamped: number;
    readonly uncertain: number;
  };
  readonly sink: SinkCounts;
}

/** What waits is not what is measured; a million of these fit into a shard of 2 GiB. */
const queuedBytes = 600;
/** Until who indexes them is through, and the kernel has written them: what is measured is how they wait, not how they came. */
const queuedMs = 45_000;
/** Before the slow next hop's reply to the final dot. */
const slowMs = 1000;
const pollMs = 20;
const stallMs = 30_000;
/** After the last delivery: deletes, acknowledgements, events and late doubles belong to the run. */
const settleMs = 800;

export async function measure(options: RunOptions): Promise<Measurement> {
  const loadBefore = Number((await readFile("/proc/loadavg", "utf8")).split(" ")[0]);
  const folder = await mkdtemp(join(tmpdir(), "mailboat-bench-"));
  try {
    const { tools, scenario } = options;
    const timesFile = join(folder, "sink.times");
    const { nextHop, recipients } = scenario;
    const keys = await makeKeys(folder, scenario);
    const common = { program: tools.sink, certificate: keys.sink };
    const sink = await startSink({ ...common, nextHop, recipients, timesFile });
    const slow =
      scenario.queued === 0
        ? undefined
        : await startSink({
            ...common,
            nextHop: { ...nextHop, delayMs: slowMs },
            recipients: 1,
            timesFile: join(folder, "slow.times"),
          });
    try {
      return { ...(await withPath(options, { folder, sink, slow, keys })), loadBefore };
    } finally {
      await slow?.stop();
      await sink.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function withPath(
  options: RunOptions,
  {
    folder,
    sink,
    slow,
    keys,
  }: Omit<Started, "running"> & { readonly slow: Sink | undefined; readonly keys: RunKeys },
): Promise<Omit<Measurement, "loadBefore">> {
  const { contender, scenario, pods, env, durability = "os" } = options;
  const pathFolder = join(folder, "path");
  await mkdir(pathFolder);
  const ports = { sinkPort: sink.port, slowPort: slow?.port };
  const start = { scenario, durability, keys, ...ports, pods, folder: pathFolder };
  const running = await contender.start(env === undefined ? start : { ...start, env });
  try {
    return await load(options, { folder, sink, running });
  } finally {
    await running.stop();
  }
}

interface Started {
  readonly folder: string;
  readonly sink: Sink;
  readonly running: RunningPath;
}

async function load(
  options: RunOptions,
  { folder, sink, running }: Started,
): Promise<Omit<Measurement, "loadBefore">> {
  const { tools, contender, scenario, warmUp, observe } = options;
  const { messages } = scenario;
  const common = { program: tools.generator, port: running.smtpPort, scenario };
  // Unpaced: compilers and connections get warm by work, not by time.
  await generate({
    ...common,
    messages: warmUp,
    firstId: 0,
    ratePerSecond: 0,
    timesFile: join(folder, "warm-up.times"),
  });
  await allComplete(sink, warmUp);
  if (scenario.queued > 0) {
    await generate({
      ...common,
      scenario: { ...scenario, domains: [slowDomain], recipients: 1, bytes: queuedBytes },
      messages: scenario.queued,
      firstId: 0,
      ratePerSecond: 0,
      timesFile: join(folder, "queued.times"),
    });
    await delay(queuedMs);
  }
  await delay(settleMs);

  const collected = await running.longCollections?.();
  const end = await observe?.(running);
  const before = snapshot(running, sink);
  const generated = await generate({
    ...common,
    messages,
    firstId: warmUp,
    ratePerSecond: scenario.ratePerSecond,
    timesFile: join(folder, "generator.times"),
  });
  const { lastAt } = await allComplete(sink, warmUp + messages);
  const deliveredPerSecond = messages / (lastAt - generated.startedAt);
  await end?.();
  await delay(settleMs);
  const after = snapshot(running, sink);
  const collectedAfter = await running.longCollections?.();
  const { counts, completeAt } = await sink.end();
  if (scenario.dkim && counts.signed < counts.messages)
    throw new Error(
      `Cannot use this run of ${contender.name}: expected all ${counts.messages} messages to be signed, got ${counts.signed}`,
    );

  const perThousand = (seconds: number): number => (seconds / messages) * 1000;
  const { firstId, acceptedAt, uncertain } = generated;
  return {
    contender: options.label ?? contender.name,
    isPeer: options.isPeer ?? false,
    scenario: scenario.name,
    messages,
    deliveredPerSecond,
    acceptedPerSecond: messages / (generated.lastAcceptedAt - generated.startedAt),
    cpu: {
      pods: perThousand(after.pods - before.pods),
      nats: perThousand((after.nats?.cpuSeconds ?? 0) - (before.nats?.cpuSeconds ?? 0)),
      generator: perThousand(generated.cpuSeconds),
      sink: perThousand(after.sink - before.sink),
    },
    podBytes: podBytesOf(running),
    memoryBytes: [...running.podPids, ...(running.natsPid === undefined ? [] : [running.natsPid])]
      .map(proportionalBytes)
      .reduce((sum, bytes) => sum + bytes, 0),
    natsBytes: after.nats?.residentBytes,
    writtenBytesPerMessage:
      after.nats === undefined || before.nats === undefined
        ? undefined
        : (after.nats.writtenBytes - before.nats.writtenBytes) / messages,
    longCollections:
      collected === undefined || collectedAfter === undefined ? undefined : collectedAfter - collected,
    maxLagMs: generated.maxLagMs,
    audit: {
      ...audit({ firstId, acceptedAt, completeAt }),
      duplicates: counts.duplicates,
      unstamped: counts.unstamped,
      uncertain,
    },
    sink: counts,
  };
}

/** Those of a peer come and go while they are looked at. */
function podBytesOf({ podPids, natsPid }: RunningPath): Measurement["podBytes"] {
  return podPids.flatMap((pid) => {
    try {
      const { residentBytes, peakResidentBytes } = usageOf(pid);
      return [{ resident: residentBytes, peak: peakResidentBytes }];
    } catch (error) {
      if (natsPid !== undefined) throw error;
      return [];
    }
  });
}

interface Snapshot {
  readonly pods: number;
  readonly nats: Usage | undefined;
  readonly sink: number;
}

function snapshot(running: RunningPath, sink: Sink): Snapshot {
  return {
    pods: running.cpuSeconds?.() ?? cpuSecondsOf(running.podPids),
    nats: running.natsPid === undefined ? undefined : usageOf(running.natsPid),
    sink: cpuSecondsOf([sink.pid]),
  };
}

/** @throws Error when nothing arrives for 30 s before the sink has them all */
async function allComplete(sink: Sink, messages: number): Promise<SinkCounts> {
  let progressAt = performance.now();
  let known = -1;
  for (;;) {
    const counts = await sink.counts();
    if (counts.complete >= messages) return counts;
    if (counts.complete > known) {
      known = counts.complete;
      progressAt = performance.now();
    }
    if (performance.now() - progressAt > stallMs)
      throw new Error(
        `Cannot finish this run: expected ${messages} ids at the sink, got ${known} and then none for ${stallMs / 1000} s`,
      );
    await delay(pollMs);
  }
}

/** Whether each accepted message was delivered exactly once, and nothing else. Doubles of what the generator had to send twice are its own. */
export function isClean({ audit: found }: Measurement): boolean {
  return (
    found.lost === 0 && found.unasked === 0 && found.unstamped === 0 && found.duplicates <= found.uncertain
  );
}
