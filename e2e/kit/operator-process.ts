/** `mailboat operator` as a process, with the arguments that its image starts Node with; killed with the test. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { until } from "#test/kit/until.ts";
import { parseContainerfile } from "../cluster/images/containerfile.ts";
import { root } from "../cluster/images/images.ts";

export interface OperatorProcess extends AsyncDisposable {
  readonly pid: number;
  /** HOST:PORT of its metrics. */
  readonly metrics: string;
  /** Its log, parsed. */
  readonly lines: readonly LogLine[];
  /** The code, or null when a signal ended it. */
  readonly exited: Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
  /** MiB of memory now, and the most there was. Linux. */
  memory(): { readonly now: number; readonly most: number };
  /** Of user and system together. Linux. */
  cpuSeconds(): number;
}

interface LogLine {
  readonly event?: string;
  readonly [field: string]: unknown;
}

export interface OperatorProcessOptions {
  readonly kubeconfig: string;
  readonly identity?: string;
  readonly args?: readonly string[];
}

/** Of its own and of its pools. */
export const operatorNamespace = "mail";

/** Not the launcher, which has a process of its own: what is killed here must be the operator. */
export async function startOperator(options: OperatorProcessOptions): Promise<OperatorProcess> {
  const { kubeconfig, identity = "operator-0", args = [] } = options;
  const { command, env } = imageOf();
  const child = spawn(
    process.execPath,
    [
      ...command,
      "operator",
      "--kubeconfig",
      kubeconfig,
      "--namespace",
      operatorNamespace,
      "--identity",
      identity,
      "--pod-image",
      "mailboat-pod:test",
      "--bind",
      "127.0.0.1",
      "--metrics-port",
      "0",
      "--health-port",
      "0",
      ...args,
    ],
    { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe"] },
  );
  const exited = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  const lines: LogLine[] = [];
  const said: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (line.startsWith("{")) lines.push(JSON.parse(line) as LogLine);
    else said.push(line);
  });
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
  };
  const port = await until(
    "the operator to listen",
    () => lines.find(({ event }) => event === "listening")?.["metrics"],
    60_000,
  ).catch(async (error: unknown) => {
    await stop();
    throw new Error(`${String(error)}\n${said.join("\n")}`, { cause: error });
  });
  const pid = child.pid ?? 0;
  return {
    pid,
    metrics: `127.0.0.1:${String(port)}`,
    lines,
    exited,
    kill: (signal) => void child.kill(signal),
    memory() {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const mebibytes = (field: string): number =>
        Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) / 1024);
      return { now: mebibytes("VmRSS"), most: mebibytes("VmHWM") };
    },
    cpuSeconds: () => cpuSecondsOf(pid),
    [Symbol.asyncDispose]: stop,
  };
}

/** Of user and system together, so far. Linux. */
export function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Of the operator's image: what is measured is what runs. */
function imageOf(): { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> } {
  const text = readFileSync(join(root, "charts", "images", "operator.Containerfile"), "utf8");
  const { entrypoint, env } = parseContainerfile(text);
  const settings = env
    .filter((one) => /^(?:NODE_OPTIONS|MALLOC_\w+)=/.test(one))
    .map((one) => [one.slice(0, one.indexOf("=")), one.slice(one.indexOf("=") + 1)] as const);
  return { command: entrypoint.slice(1), env: Object.fromEntries(settings) };
}
