/** One pod as a child process: its arguments, its ready line, its log, its end. Rejects when it ends before it is ready. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import type { LogFile } from "./log-file.ts";
import { listenerNames, type ListenerName } from "./options.ts";
import type { Started } from "./supervisor.ts";

export interface PodSpec {
  readonly name: string;
  readonly configDir: string;
  readonly keysDir: string;
  readonly bind: string;
  readonly adminBind: string;
  readonly ports: Readonly<Record<ListenerName | "metrics", number>>;
  /** URLs with commas between them. */
  readonly nats: string;
  readonly tlsDir: string;
  readonly adminTokenFile: string;
  readonly resolvers: readonly string[];
  readonly drainMs: number;
  /** Other pods listen on the same ports. */
  readonly reusePort: boolean;
  readonly log: LogFile;
  /** The program, for tests; default the pod's entry. */
  readonly main?: string;
  /** A line of its log that is an error. */
  onError(line: string): void;
}

const readySchema = z.looseObject({
  ready: z.literal(true),
  incarnation: z.string().optional(),
  metrics: z.number(),
});

export interface PodFacts {
  readonly name: string;
  readonly pid: number;
  /** Which life of the pod this is, as its leases say; "" when it did not tell. */
  readonly incarnation: string;
  readonly metricsPort: number;
}

const podMain = fileURLToPath(new URL("../../mta-pod/main.ts", import.meta.url));
const readyMs = 60_000;
/** After the drain time: to hand over and close. */
const afterDrainMs = 10_000;
const keptLines = 20;

function podArguments(spec: PodSpec): string[] {
  const options: readonly (readonly [string, string])[] = [
    ["config", spec.configDir],
    ["keys", spec.keysDir],
    ["name", spec.name],
    ["bind", spec.bind],
    ["admin-bind", spec.adminBind],
    ...listenerNames.map((name) => [`${name}-port`, String(spec.ports[name])] as const),
    ["metrics-port", String(spec.ports.metrics)],
    ...spec.nats.split(",").map((url) => ["nats", url] as const),
    ["tls-dir", spec.tlsDir],
    ["admin-token-file", spec.adminTokenFile],
    ...spec.resolvers.map((resolver) => ["resolver", resolver] as const),
    ["drain-ms", String(spec.drainMs)],
  ];
  const flags = [...(spec.reusePort ? ["--reuse-port"] : []), "--local", "--exit-with-parent"];
  return [...options.flatMap(([name, value]) => [`--${name}`, value]), ...flags];
}

/** A nursery of the default 16 MB lets the bodies of a burst pile up as garbage before V8 looks: 100 MB more in memory. */
const memoryFlags = ["--max-semi-space-size=8"];

export async function startPod(spec: PodSpec): Promise<Started<PodFacts>> {
  // A group of its own: Ctrl-C in a terminal reaches the runner alone, which stops things in order. The pipe on its
  // standard input closes with the runner, however that ends; the pod takes this for SIGTERM.
  const child = spawn(process.execPath, [...memoryFlags, spec.main ?? podMain, ...podArguments(spec)], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const exited = endOf(child);
  const lastLines = keepLog(child, spec);
  const limit = new AbortController();
  const outcome = await Promise.race([
    readyOf(child, spec),
    exited,
    delay(readyMs, `nothing for ${readyMs} ms`, { signal: limit.signal }),
  ]);
  limit.abort();
  if (typeof outcome === "string") {
    child.kill("SIGKILL");
    const said = lastLines().map((line) => `\n  ${line}`);
    throw new Error(`Cannot start pod ${spec.name}: expected its ready line, got ${outcome}${said.join("")}`);
  }
  return {
    facts: outcome,
    exited,
    stop: () => stop(child, exited, spec.drainMs + afterDrainMs),
    kill: () => void child.kill("SIGKILL"),
  };
}

function endOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code ?? 0}` : signal));
    // Writing to a pod that is gone must not end the runner.
    child.stdin?.on("error", () => {});
  });
}

function readyOf(child: ChildProcess, spec: PodSpec): Promise<PodFacts> {
  return new Promise((resolve) => {
    if (child.stdout === null) return;
    // Read to the end, also after the ready line: a full pipe would stop the pod.
    createInterface({ input: child.stdout }).on("line", (line) => {
      const ready = readReady(line);
      if (ready === undefined) return spec.log.append(`${line}\n`);
      const { incarnation = "", metrics } = ready;
      resolve({ name: spec.name, pid: child.pid ?? 0, incarnation, metricsPort: metrics });
    });
  });
}

function readReady(line: string): z.infer<typeof readySchema> | undefined {
  try {
    return readySchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

function keepLog(child: ChildProcess, spec: PodSpec): () => readonly string[] {
  const last: string[] = [];
  if (child.stderr !== null)
    createInterface({ input: child.stderr }).on("line", (line) => {
      spec.log.append(`${line}\n`);
      last.push(line);
      if (last.length > keptLines) last.shift();
      // pino's numbers: 50 is error, 60 fatal.
      if (/^\{"level":(?:50|60|"error"|"fatal")/.test(line)) spec.onError(line);
    });
  return () => last;
}

async function stop(child: ChildProcess, exited: Promise<string>, boundMs: number): Promise<void> {
  const limit = new AbortController();
  child.kill("SIGTERM");
  const late = delay(boundMs, "late", { signal: limit.signal }).catch(() => "stopped");
  if ((await Promise.race([exited, late])) === "late") child.kill("SIGKILL");
  limit.abort();
  await exited;
}
