/** Local mode for scenario tests: the real launcher with real pods on free ports and a state folder of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Endpoint, parseEndpoint, type PoolEndpoint } from "#operator/local/endpoint.ts";
import { until } from "./until.ts";

export interface StartLocalOptions {
  /** YAML of the resources, as `kubectl apply` takes it. */
  readonly resources: string;
  readonly pods?: number;
  /** More arguments of `mailboat local`. */
  readonly args?: readonly string[];
  /** A folder of an earlier run to go on with; it is not removed at the end. */
  readonly state?: string;
  readonly readyMs?: number;
  /** More of the environment, of the launcher and its pods. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface LocalMode extends AsyncDisposable {
  /** The first pool's addresses, HOST:PORT. */
  readonly endpoints: PoolEndpoint;
  readonly state: string;
  readonly adminToken: string;
  /** Certificate authority to trust, PEM. */
  readonly ca: string;
  /** Lines of standard output and error so far. */
  readonly output: readonly string[];
  /** What STATE/endpoint.json says now. */
  read(): Promise<Endpoint>;
  /** Process ids of the pods by name; undefined when one is not running at the moment. */
  podPid(index: number): Promise<number | undefined>;
  /** kill -9 of a pod; resolves when the runner has started another in its place, if it is to wait. */
  kill(index: number, options?: { readonly awaitRestart?: boolean }): Promise<void>;
  /** kill -9 of nats-server. */
  killNats(): Promise<void>;
  /** kill -9 of the runner; the pods leave on their own. */
  killRunner(): Promise<void>;
  /** kill -9 of the runner, every pod and nats-server. */
  killAll(): Promise<void>;
  /** Replaces the resources, as an editor would. */
  edit(resources: string): Promise<void>;
  /** Asks the admin port; `body` makes it a POST. */
  admin(path: string, body?: unknown): Promise<unknown>;
  /** SIGINT to the launcher; resolves with its exit code. */
  stop(): Promise<number | null>;
}

const launcher = fileURLToPath(new URL("../../operator/cli/mailboat.mjs", import.meta.url));
const portFlags = ["smtp", "submission", "submissions", "http", "admin", "metrics"].flatMap((name) => [
  `--${name}-port`,
  "0",
]);

/** @example await using local = await startLocal({ resources, pods: 2 }); local.endpoints.smtp */
export async function startLocal(options: StartLocalOptions): Promise<LocalMode> {
  const folder = options.state ?? (await mkdtemp(join(tmpdir(), "mailboat-test-local-")));
  const state = join(folder, "state");
  const resourceFile = join(folder, "resources", "resources.yaml");
  await mkdir(join(folder, "resources"), { recursive: true });
  await writeFile(resourceFile, options.resources);
  const pods = options.pods === undefined ? [] : ["--pods", String(options.pods)];
  const args = ["local", "--json", "--state", state, "-f", join(folder, "resources"), ...pods, ...portFlags];
  const child = spawn(process.execPath, [launcher, ...args, ...(options.args ?? [])], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const output: string[] = [];
  const first = await readyEndpoint(child, { exited, output, readyMs: options.readyMs ?? 60_000 });
  const read = (): Promise<Endpoint> => readEndpoint(state, first);
  const adminToken = (await readFile(first.adminTokenFile, "utf8")).trim();
  const [endpoints] = first.pools;
  if (endpoints === undefined) throw new Error("a ready line without a pool");
  await until("the pods to know each other", () => knowEachOther(endpoints.metrics), 30_000);

  const podPid = async (index: number): Promise<number | undefined> => {
    const pods = Object.entries((await read()).pids.pods);
    return pods.find(([name]) => name.endsWith(`-${index}`))?.[1];
  };
  const stop = async (): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    return exited;
  };
  const killAll = async (): Promise<void> => {
    const { pids } = await read();
    for (const pid of [pids.runner, ...Object.values(pids.pods), pids.nats]) killQuietly(pid);
    await exited;
  };
  return {
    endpoints,
    state: folder,
    adminToken,
    output,
    read,
    podPid,
    stop,
    killAll,
    ca: await readFile(first.ca, "utf8"),
    async kill(index, { awaitRestart = true } = {}) {
      const pid = await podPid(index);
      killQuietly(pid);
      if (awaitRestart)
        await until(
          `pod ${index} to be back`,
          async () => {
            const now = await podPid(index);
            return now !== undefined && now !== pid;
          },
          30_000,
        );
    },
    killNats: async () => killQuietly((await read()).pids.nats),
    async killRunner() {
      killQuietly((await read()).pids.runner);
      await exited;
    },
    edit: (resources) => writeFile(resourceFile, resources),
    admin: (path, body) => askAdmin(`http://${endpoints.admin}${path}`, adminToken, body),
    async [Symbol.asyncDispose]() {
      await stop();
      // What a killed runner left behind.
      const { pids } = await read();
      for (const pid of [...Object.values(pids.pods), pids.nats]) killQuietly(pid);
      if (options.state === undefined) await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function knowEachOther(metrics: readonly string[]): Promise<boolean> {
  const known = await Promise.all(
    metrics.map(async (address) => {
      const status = (await (await fetch(`http://${address}/statusz`)).json()) as { members: unknown[] };
      return status.members.length === metrics.length;
    }),
  );
  return known.every(Boolean);
}

async function readEndpoint(state: string, last: Endpoint): Promise<Endpoint> {
  const text = await readFile(join(state, "endpoint.json"), "utf8").catch(() => "");
  return parseEndpoint(text) ?? last;
}

async function readyEndpoint(
  child: ChildProcess,
  { exited, output, readyMs }: { exited: Promise<number | null>; output: string[]; readyMs: number },
): Promise<Endpoint> {
  let ready: Endpoint | undefined;
  let ended = false;
  for (const stream of [child.stdout, child.stderr])
    if (stream !== null)
      createInterface({ input: stream }).on("line", (line) => {
        output.push(line);
        if (line.startsWith('{"ready":true')) ready = parseEndpoint(line);
      });
  void exited.then(() => (ended = true));
  try {
    return await until(
      "local mode to be ready",
      () => {
        if (ended) throw new Error("local mode ended before it was ready");
        return ready;
      },
      readyMs,
    );
  } catch (error) {
    child.kill("SIGKILL");
    throw new Error(`${String(error)}\n${output.join("\n")}`, { cause: error });
  }
}

/** Only processes that the runner named as its own: their ids are not reused within a test. */
function killQuietly(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}

async function askAdmin(url: string, token: string, body: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method: body === undefined ? "GET" : "POST",
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`);
  return text === "" ? {} : (JSON.parse(text) as unknown);
}
