/** Starts a cluster's processes, each with a log and a record of its id, and ends them by that record alone. */
import { execFile, spawn } from "node:child_process";
import { mkdir, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "#test/kit/until.ts";

/** An id may be used again; together with the time of its start it is one process's for ever. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since the machine's start, as in /proc; 0 when it was gone already. */
  readonly startedAt: number;
}

export interface Program {
  /** Of its log and record. */
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** A network namespace to run in. */
  readonly namespace?: string | undefined;
}

const endMs = 10_000;
const run = promisify(execFile);

/** In a session of its own: a terminal's Ctrl-C is the test's to handle. */
export async function startProgram(
  folder: string,
  { name, command, namespace }: Program,
): Promise<ProcessId> {
  await mkdir(join(folder, "log"), { recursive: true });
  await mkdir(join(folder, "pids"), { recursive: true });
  const log = await open(join(folder, "log", `${name}.log`), "a");
  const [program, ...args] = inNamespace(namespace, command);
  const child = spawn(program, args, { detached: true, stdio: ["ignore", log.fd, log.fd] });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  await log.close();
  child.unref();
  const id = await processId(child.pid ?? 0);
  await writeFile(join(folder, "pids", name), JSON.stringify(id));
  return id;
}

/** `nsenter` and not `ip netns exec`, which hides the cgroups. */
function inNamespace(
  namespace: string | undefined,
  command: readonly [string, ...string[]],
): readonly [string, ...string[]] {
  return namespace === undefined ? command : ["nsenter", `--net=/run/netns/${namespace}`, ...command];
}

/** The end of its log, for errors. */
export async function logTail(folder: string, name: string, lines = 12): Promise<string> {
  const text = await readFile(join(folder, "log", `${name}.log`), "utf8").catch(() => "");
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}

/** @throws Error with the end of its log when it is not running */
export async function assertRuns(folder: string, name: string): Promise<void> {
  const id = await recorded(folder, name);
  if (id === undefined || !(await isSame(id)))
    throw new Error(`Cannot go on: expected ${name} to run, it ended:\n${await logTail(folder, name)}`);
}

/** Ends what was recorded under `name`; a SIGTERM gets 10 s. Does nothing when it is gone. */
export async function stopProgram(
  folder: string,
  name: string,
  signal: NodeJS.Signals = "SIGKILL",
): Promise<void> {
  const id = await recorded(folder, name);
  if (id !== undefined) await end(id, signal);
  await rm(join(folder, "pids", name), { force: true });
}

export async function recordedNames(folder: string): Promise<string[]> {
  return readdir(join(folder, "pids")).catch(() => []);
}

export async function recorded(folder: string, name: string): Promise<ProcessId | undefined> {
  const text = await readFile(join(folder, "pids", name), "utf8").catch(() => "");
  return text === "" ? undefined : (JSON.parse(text) as ProcessId);
}

export async function end(id: ProcessId, signal: NodeJS.Signals): Promise<void> {
  if (!(await isSame(id))) return;
  signalQuietly(id.pid, signal);
  const gone = async (): Promise<boolean> => !(await isSame(id));
  await until(`process ${id.pid} to end`, gone, endMs).catch(async () => {
    signalQuietly(id.pid, "SIGKILL");
    await until(`process ${id.pid} to be killed`, gone, endMs);
  });
}

export async function processId(pid: number): Promise<ProcessId> {
  return { pid, startedAt: (await stateOf(pid))?.startedAt ?? 0 };
}

/**
 * Whether that very process lives; one that is dead and not yet reaped does not. Its first thread may be dead before the
 * others are (proc_pid_stat(5): state, num_threads), and the last of them closes what it listens on.
 */
export async function isSame({ pid, startedAt }: ProcessId): Promise<boolean> {
  const state = await stateOf(pid);
  return (
    state !== undefined && !(state.letter === "Z" && state.threads <= 1) && state.startedAt === startedAt
  );
}

interface State {
  readonly letter: string;
  readonly threads: number;
  readonly startedAt: number;
}

async function stateOf(pid: number): Promise<State | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The name, in brackets, may have spaces and brackets: fields are counted from its end.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { letter: fields[0] ?? "", threads: Number(fields[17]), startedAt: Number(fields[19]) };
}

function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

/** Standard output of a command that is to succeed. @throws Error with what it said */
export async function output(
  command: readonly [string, ...string[]],
  { namespace, input, timeoutMs = 120_000 }: OutputOptions = {},
): Promise<string> {
  const [program, ...args] = inNamespace(namespace, command);
  const running = run(program, args, { timeout: timeoutMs, maxBuffer: 256 * 1024 * 1024 });
  if (input !== undefined) running.child.stdin?.end(input);
  try {
    return (await running).stdout;
  } catch (error) {
    const said = String(Reflect.get(Object(error), "stderr") ?? "").trim();
    throw new Error(`${command.join(" ").slice(0, 300)}: ${said === "" ? String(error) : said}`, {
      cause: error,
    });
  }
}

export interface OutputOptions {
  readonly namespace?: string | undefined;
  readonly input?: string;
  readonly timeoutMs?: number;
}
