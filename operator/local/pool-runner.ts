/** The pods of one pool: their folders, ports and processes. A pod that dies is started again and its leases are freed. */
import { readFile } from "node:fs/promises";
import { poolFiles } from "#operator/compile/files.ts";
import type { CompiledPool } from "#operator/compile/compile.ts";
import { addressOf, adminBindOf, type PoolEndpoint } from "./endpoint.ts";
import { openLogFile, type LogFile } from "./log-file.ts";
import { listenerNames, type ListenerName, type LocalOptions, poolPortStep } from "./options.ts";
import { type PodFacts, type PodSpec, startPod } from "./pod-process.ts";
import { pickPorts, type WantedPort } from "./ports.ts";
import { writeProjected } from "./projected-folder.ts";
import { sharesPorts } from "./resources.ts";
import type { StateDir } from "./state-dir.ts";
import { type Supervisor, supervise } from "./supervisor.ts";

export interface PoolSettings {
  readonly options: Pick<LocalOptions, "bind" | "ports" | "resolvers" | "podMain" | "complain">;
  readonly state: StateDir;
  readonly nats: string;
  readonly tlsDir: string;
  readonly adminTokenFile: string;
  /** Something that the endpoint record says has changed: a pod's process. */
  onChange(): void;
}

export interface PoolRunner {
  readonly pool: string;
  endpoint(): PoolEndpoint;
  /** Process ids by pod name, of those that run. */
  pids(): Record<string, number>;
  /** Swaps the configuration in and fits the number of pods to it. @returns whether anything changed */
  apply(compiled: CompiledPool): Promise<boolean>;
  stop(): Promise<void>;
  kill(): void;
}

type Ports = Readonly<Record<ListenerName, number>>;

interface RunningPod {
  /** From 0. */
  readonly index: number;
  readonly name: string;
  readonly metricsPort: number;
  readonly supervisor: Supervisor<PodFacts>;
  readonly log: LogFile;
}

/** Longest wait for open transactions at the end: a person sits at the terminal. */
const drainMs = 10_000;
const witnessMs = 2000;

/** What the pods of one pool have in common. */
interface PoolContext {
  readonly settings: PoolSettings;
  /** Place in the order of the pools. */
  readonly place: number;
  /** Pods are numbered behind it. */
  readonly podPrefix: string;
  readonly ports: Ports;
  folder(name: "config" | "keys"): string;
}

/** Starts the pods of `compiled`, one of `pools`, which are all that run, in the order of their ports. @throws Error when a port is taken or a pod does not come up */
export async function startPool(
  settings: PoolSettings,
  compiled: CompiledPool,
  pools: readonly string[],
): Promise<PoolRunner> {
  const { pool } = compiled;
  const place = pools.indexOf(pool);
  const ports = await listenerPorts(settings.options, place);
  const folder = (name: string): string => settings.state.file("pools", pool.replace("/", "."), name);
  const context: PoolContext = { settings, place, podPrefix: podPrefixOf(pool, pools), ports, folder };
  const pods: RunningPod[] = [];
  let stopping = false;
  const stop = async (): Promise<void> => {
    stopping = true;
    await Promise.all(pods.map(stopPod));
  };
  await writeConfig(context, compiled);
  try {
    await scale(pods, compiled.replicas, context);
  } catch (error) {
    await stop();
    throw error;
  }
  const { bind } = settings.options;
  return {
    pool,
    endpoint: () => poolEndpoint(pool, { bind, ports, metrics: pods.map((pod) => pod.metricsPort) }),
    pids: () => Object.fromEntries(pods.flatMap(pidOf)),
    async apply(next) {
      if (stopping) return false;
      const changed = await writeConfig(context, next);
      return (await scale(pods, next.replicas, context)) || changed;
    },
    stop,
    kill() {
      stopping = true;
      for (const { supervisor } of pods) supervisor.kill();
    },
  };
}

/** The pool's name; with its namespace where another has the same, for logs and process ids go by it. */
function podPrefixOf(pool: string, pools: readonly string[]): string {
  const nameOf = (one: string): string => one.slice(one.indexOf("/") + 1);
  const isUnique = pools.every((one) => one === pool || nameOf(one) !== nameOf(pool));
  return isUnique ? nameOf(pool) : pool.replace("/", ".");
}

async function writeConfig({ folder }: PoolContext, compiled: CompiledPool): Promise<boolean> {
  const files = poolFiles(compiled);
  // Keys first: a manifest may speak of keys that came with it.
  const keys = await writeProjected(folder("keys"), files.keys);
  return (await writeProjected(folder("config"), files.config)) || keys;
}

/** Stops the last pods, or starts those that are missing, until there are `count`; the list is changed in place. */
async function scale(pods: RunningPod[], count: number, context: PoolContext): Promise<boolean> {
  const before = pods.length;
  const left = pods.filter(({ index }) => index >= count);
  const kept = pods.filter(({ index }) => index < count);
  pods.splice(0, Number.POSITIVE_INFINITY, ...kept);
  await Promise.all(left.map(stopPod));
  // Not the next numbers: one that could not be started before is missing in between.
  const there = new Set(kept.map(({ index }) => index));
  const missing = Array.from({ length: count }, (_, index) => index).filter((index) => !there.has(index));
  const started = await Promise.allSettled(missing.map((index) => runPod(context, index)));
  for (const outcome of started) if (outcome.status === "fulfilled") pods.push(outcome.value);
  pods.sort((a, b) => a.index - b.index);
  const failed = started.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return before !== pods.length;
}

async function runPod(context: PoolContext, index: number): Promise<RunningPod> {
  const { settings, ports, folder } = context;
  const { options, state } = settings;
  const name = `${context.podPrefix}-${index}`;
  const metricsPort = await metricsPortOf(options, context.place, index);
  const log = openLogFile(state.file("logs", `${name}.log`));
  const spec: PodSpec = {
    name,
    configDir: folder("config"),
    keysDir: folder("keys"),
    bind: options.bind,
    adminBind: adminBindOf(options.bind),
    ports: { ...ports, metrics: metricsPort },
    nats: settings.nats,
    tlsDir: settings.tlsDir,
    adminTokenFile: settings.adminTokenFile,
    resolvers: options.resolvers,
    drainMs,
    reusePort: sharesPorts,
    log,
    ...(options.podMain === undefined ? {} : { main: options.podMain }),
    onError: (line) => options.complain(line),
  };
  const supervisor = await supervise<PodFacts>({
    start: () => startPod(spec),
    onDeath(facts, how) {
      options.complain(`pod ${name} (process ${facts.pid}) ended: ${how}; starting it again`);
      void bearWitness(
        `http://${addressOf(adminBindOf(options.bind), ports.admin)}`,
        settings.adminTokenFile,
        facts,
      );
    },
    onFailure: (error) => options.complain(error instanceof Error ? error.message : String(error)),
    onReady: () => settings.onChange(),
  });
  return { index, name, metricsPort, supervisor, log };
}

function pidOf({ name, supervisor }: RunningPod): [string, number][] {
  const pid = supervisor.facts()?.pid;
  return pid === undefined ? [] : [[name, pid]];
}

async function stopPod({ supervisor, log }: RunningPod): Promise<void> {
  await supervisor.stop();
  await log.flush();
}

function poolEndpoint(
  pool: string,
  { bind, ports, metrics }: { bind: string; ports: Ports; metrics: readonly number[] },
): PoolEndpoint {
  const at = (port: number): string => addressOf(bind, port);
  const { smtp, submission, submissions, http, admin } = ports;
  return {
    pool,
    smtp: at(smtp),
    submission: at(submission),
    submissions: at(submissions),
    http: at(http),
    admin: addressOf(adminBindOf(bind), admin),
    metrics: metrics.map(at),
  };
}

async function listenerPorts(options: PoolSettings["options"], place: number): Promise<Ports> {
  const wanted = listenerNames.map((name) => ({
    ...wantedPort(name, options.ports[name], place * poolPortStep),
    ...(name === "admin" ? { host: adminBindOf(options.bind) } : {}),
  }));
  const [smtp = 0, submission = 0, submissions = 0, http = 0, admin = 0] = await pickPorts(
    options.bind,
    wanted,
  );
  return { smtp, submission, submissions, http, admin };
}

async function metricsPortOf(
  options: PoolSettings["options"],
  place: number,
  index: number,
): Promise<number> {
  const wanted = wantedPort("metrics", options.ports.metrics, place * poolPortStep + index);
  const [port = 0] = await pickPorts(options.bind, [wanted]);
  return port;
}

function wantedPort(name: string, base: number, offset: number): WantedPort {
  return { option: `--${name}-port`, port: base === 0 ? 0 : base + offset };
}

/** Tells a pod that lives that this one is dead for sure, so that its shards need not wait for their leases to run out. */
async function bearWitness(admin: string, tokenFile: string, { name, incarnation }: PodFacts): Promise<void> {
  if (incarnation === "") return;
  try {
    const token = (await readFile(tokenFile, "utf8")).trim();
    await fetch(`${admin}/v1/witness`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ pod: name, incarnation }),
      signal: AbortSignal.timeout(witnessMs),
    });
  } catch {
    // No pod lives, then: the one that starts again frees its former self's leases.
  }
}
