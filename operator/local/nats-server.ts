/**
 * Runs one nats-server with JetStream on this machine. Throws when it does not get ready in time, with the last lines
 * it logged. At most one server per store: a survivor of an earlier run is stopped first, since two would ruin it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "./ports.ts";

export interface NatsServerOptions {
  /** Path of the program, from `findNatsServer`. */
  readonly binary: string;
  /** Folder of the JetStream store; made when missing. Configuration and pid file are kept beside the data. */
  readonly storeDir: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly host: string;
  /**
   * Default "os": acknowledged messages survive kill -9 of any process, and a loss of power costs up to 2 minutes
   * (the server's own default). "always" syncs the disk before each acknowledgement, at a third of the rate.
   */
  readonly sync?: "os" | "always";
  /** Limit of the store in bytes; default: three quarters of the free disk, as the server decides. */
  readonly maxStoreBytes?: number;
  /** More lines of its configuration, as it reads them: a cluster, say. */
  readonly moreConfig?: readonly string[];
  /** Default 60 s: a large store is read at the start. */
  readonly readyTimeoutMs?: number;
  /** Each line the server logs. */
  readonly onLog?: (line: string) => void;
}

export interface NatsServer {
  /** `nats://host:port`. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** The exit code, or null when a signal ended it; resolves once, also after `stop()`. */
  readonly exited: Promise<number | null>;
  /** SIGTERM, then SIGKILL after 10 s; resolves when it is gone. */
  stop(): Promise<void>;
}

const defaultReadyMs = 60_000;
const stopMs = 10_000;
const keptLines = 20;

/** @throws Error when the server exits or says nothing within `readyTimeoutMs` */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServer> {
  const storeDir = resolve(options.storeDir);
  await mkdir(storeDir, { recursive: true });
  const configFile = join(storeDir, "nats-server.conf");
  const pidFile = join(storeDir, "nats-server.pid");
  await stopSurvivor(pidFile, configFile);
  // Not the server's own choice: it is to find its port free when it starts again.
  const wanted = options.port === 0 ? await freePorts(1, options.host) : [options.port];
  await writeFile(configFile, configText({ ...options, storeDir, port: wanted[0] ?? 0 }), { mode: 0o600 });
  // A group of its own: Ctrl-C in a terminal must stop the pods first, and this last.
  const child = spawn(options.binary, ["--config", configFile], {
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...(options.sync === "always" ? {} : { GOMAXPROCS: String(goThreads()) }), ...process.env },
  });
  const exited = new Promise<number | null>((done) => {
    child.once("exit", (code) => done(code));
    child.once("error", () => done(null));
  });
  const port = await ready(child, exited, options);
  const { pid = 0 } = child;
  await writeFile(pidFile, String(pid));
  return {
    url: `nats://${options.host.includes(":") ? `[${options.host}]` : options.host}:${port}`,
    port,
    pid,
    exited,
    async stop() {
      await end(child, exited);
      await rm(pidFile, { force: true });
    },
  };
}

/**
 * A third of the cores, which is its share of the work. Left to itself Go takes all, and its threads look for work and wake each other more
 * than they work: on 2 cores a quarter more CPU a message. One that syncs needs all: each is held up by the disk. GOMAXPROCS in our own
 * environment goes before.
 */
function goThreads(): number {
  return Math.max(1, Math.floor(availableParallelism() / 3));
}

function configText(options: NatsServerOptions): string {
  const { host, port, storeDir, sync = "os", maxStoreBytes, moreConfig = [] } = options;
  return [
    `host: ${JSON.stringify(host)}`,
    `port: ${port}`,
    "logtime: false",
    "max_payload: 8MB",
    "max_pending: 256MB",
    "jetstream {",
    `  store_dir: ${JSON.stringify(storeDir)}`,
    ...(maxStoreBytes === undefined ? [] : [`  max_file_store: ${maxStoreBytes}`]),
    ...(sync === "always" ? ["  sync_interval: always"] : []),
    "}",
    ...moreConfig,
    "",
  ].join("\n");
}

async function ready(
  child: ChildProcess,
  exited: Promise<number | null>,
  options: NatsServerOptions,
): Promise<number> {
  const lines: string[] = [];
  const listening = new Promise<number>((found) => {
    let port: number | undefined;
    if (child.stderr === null) return;
    // Read to the end, also after the start: a full pipe would stop the server.
    createInterface({ input: child.stderr }).on("line", (line) => {
      options.onLog?.(line);
      lines.push(line);
      if (lines.length > keptLines) lines.shift();
      port ??= portIn(line);
      if (port !== undefined && line.includes("Server is ready")) found(port);
    });
  });
  const limit = new AbortController();
  const readyMs = options.readyTimeoutMs ?? defaultReadyMs;
  const outcome = await Promise.race([
    listening,
    exited.then((code) => `exit ${code ?? "by a signal"}`),
    delay(readyMs, `nothing for ${readyMs} ms`, { signal: limit.signal }),
  ]);
  limit.abort();
  if (typeof outcome === "number") return outcome;
  await end(child, exited);
  throw new Error(
    `Cannot start ${options.binary}: expected "Server is ready", got ${outcome}:\n${lines.join("\n")}`,
  );
}

function portIn(line: string): number | undefined {
  const port = /Listening for client connections on .*:(\d+)$/.exec(line)?.[1];
  return port === undefined ? undefined : Number(port);
}

async function end(child: ChildProcess, exited: Promise<number | null>): Promise<void> {
  const limit = new AbortController();
  child.kill("SIGTERM");
  const stopped = exited.then(() => "stopped");
  const outcome = await Promise.race([stopped, delay(stopMs, "late", { signal: limit.signal })]);
  limit.abort();
  if (outcome === "late") child.kill("SIGKILL");
  await exited;
}

/** The parent may have been killed and its server not; it is recognised by the configuration file it was given. */
async function stopSurvivor(pidFile: string, configFile: string): Promise<void> {
  const pid = Number(await readFile(pidFile, "utf8").catch(() => "0"));
  if (!Number.isInteger(pid) || pid <= 1 || !(await isServer(pid, configFile))) return;
  signal(pid, "SIGTERM");
  for (let waitedMs = 0; await isServer(pid, configFile); waitedMs += 50) {
    if (waitedMs === stopMs) signal(pid, "SIGKILL");
    await delay(50);
  }
}

async function isServer(pid: number, configFile: string): Promise<boolean> {
  const procFile = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
  return (procFile ?? (await argumentsByPs(pid))).includes(configFile);
}

/** "" when there is no such process, or no ps: images without one have /proc. */
function argumentsByPs(pid: number): Promise<string> {
  const ps = spawn("ps", ["-o", "args=", "-p", String(pid)], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  ps.stdout.on("data", (part: Buffer) => {
    text += part.toString("utf8");
  });
  return new Promise((done) => {
    ps.once("error", () => done(""));
    ps.once("close", () => done(text));
  });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}
