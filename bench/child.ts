/** Child processes of the benchmark: their lines, a line that matches, their end. `stopChildren` ends whatever still runs. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

export interface Child {
  readonly pid: number;
  /** Resolves to the exit code; null = by a signal. */
  readonly exited: Promise<number | null>;
  /** The next line of standard output that was not taken yet. @throws Error when the child ends or is silent before */
  nextLine(boundMs: number): Promise<string>;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `boundMs`. */
  stop(boundMs?: number): Promise<void>;
}

export interface ChildOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Each line of standard error; default: passed on. */
  readonly onError?: (line: string) => void;
}

const running = new Set<ChildProcess>();
const keptErrors = 20;

/** After Ctrl-C the waits for the children fail, and so what was started is taken down in order. */
export function stopChildren(): void {
  for (const child of running) child.kill("SIGTERM");
}

export function startChild(program: string, args: readonly string[], options: ChildOptions = {}): Child {
  const name = program.split("/").at(-1) ?? program;
  const child = spawn(program, args, { env: options.env ?? process.env, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const exited = new Promise<number | null>((resolve) => {
    const end = (code: number | null): void => {
      running.delete(child);
      resolve(code);
    };
    child.once("close", end);
    child.once("error", (error) => {
      errors.push(error.message);
      end(null);
    });
  });
  const lines: string[] = [];
  const errors: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const taker = waiting.shift();
    if (taker === undefined) lines.push(line);
    else taker(line);
  });
  createInterface({ input: child.stderr }).on("line", (line) => {
    errors.push(line);
    if (errors.length > keptErrors) errors.shift();
    if (options.onError === undefined) console.error(`${name}: ${line}`);
    else options.onError(line);
  });
  const over = async (): Promise<string> => `its end (${(await exited) ?? "by a signal"})`;
  return {
    pid: child.pid ?? 0,
    exited,
    async nextLine(boundMs) {
      const ready = lines.shift();
      if (ready !== undefined) return ready;
      const limit = new AbortController();
      let take = (_line: string): void => {};
      const line = new Promise<{ line: string }>((resolve) => {
        take = (text) => resolve({ line: text });
        waiting.push(take);
      });
      const silence = delay(boundMs, `nothing for ${boundMs} ms`, { signal: limit.signal });
      silence.catch(() => {});
      const outcome = await Promise.race([line, over(), silence]);
      limit.abort();
      if (typeof outcome !== "string") return outcome.line;
      const place = waiting.indexOf(take);
      if (place >= 0) waiting.splice(place, 1);
      throw new Error(`Cannot use ${name}: expected a line, got ${outcome}\n${errors.join("\n")}`);
    },
    signal: (signal) => void child.kill(signal),
    async stop(boundMs = 20_000) {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), boundMs);
      await exited;
      clearTimeout(late);
    },
  };
}
