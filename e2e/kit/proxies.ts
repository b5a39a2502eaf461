/** Egress proxies as processes: ours, and those of others (microsocks, haproxy), each on a free port of loopback. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePorts } from "#operator/local/ports.ts";
import { until } from "#test/kit/until.ts";

export const login = { username: "pods", password: "opensesame" };

export interface ProxyProcess extends AsyncDisposable {
  readonly port: number;
  readonly metrics: number;
  /** kill -9. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

const launcher = fileURLToPath(new URL("../../operator/cli/mailboat.mjs", import.meta.url));
const proxyMain = fileURLToPath(new URL("../../mta-pod/proxy-main.ts", import.meta.url));

/** `mailboat proxy` that may reach loopback; `port` to take the place of one that was killed. */
export async function startMailboatProxy(
  args: readonly string[] = [],
  { port = 0, byLauncher = false }: { readonly port?: number; readonly byLauncher?: boolean } = {},
): Promise<ProxyProcess> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-e2e-proxy-"));
  for (const [key, value] of Object.entries(login)) await writeFile(join(folder, key), value);
  const program = byLauncher ? [launcher, "proxy"] : [proxyMain];
  const own = ["--auth-dir", folder, "--bind", "127.0.0.1", "--port", String(port), "--metrics-port", "0"];
  if (byLauncher) own.push("--drain-ms", "0");
  const child = spawn(process.execPath, [...program, ...own, "--allow-destination", "127.0.0.0/8", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = exitOf(child);
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const ready = JSON.parse(line) as { port: number; metrics: number };
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal);
    return exited;
  };
  return {
    ...ready,
    kill: async () => void (await end("SIGKILL")),
    stop: () => end("SIGTERM"),
    async [Symbol.asyncDispose]() {
      // The launcher's child would outlive a launcher that is killed.
      await end(byLauncher ? "SIGTERM" : "SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once("exit", (code) => resolve(code)));
}

/** Starts a foreign program that listens on a port of its own. @throws Error that names the package when it is not there */
async function startForeign(
  name: string,
  argsFor: (port: number) => readonly string[] | Promise<readonly string[]>,
): Promise<AsyncDisposable & { readonly port: number }> {
  const [port = 0] = await freePorts(1);
  const child = spawn(name, await argsFor(port), { stdio: ["ignore", "ignore", "inherit"] });
  const exited = exitOf(child);
  let missing: Error | undefined;
  child.once(
    "error",
    (error) => (missing = new Error(`Cannot run ${name}: apt-get install ${name}`, { cause: error })),
  );
  await until(`${name} to listen`, async () => {
    if (missing !== undefined) throw missing;
    return listens(port);
  });
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** Sends from `address`. */
export function startMicrosocks(address: string): Promise<AsyncDisposable & { readonly port: number }> {
  const { username, password } = login;
  return startForeign("microsocks", (port) =>
    ["-i", "127.0.0.1", "-p", String(port), "-b", address].concat("-u", username, "-P", password),
  );
}

/** Takes PROXY headers of `source` alone, goes on to the header's destination, and sends from `address`. */
export async function startHaproxy({
  source,
  address,
}: {
  readonly source: string;
  readonly address: string;
}): Promise<AsyncDisposable & { readonly port: number }> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-e2e-haproxy-"));
  const file = join(folder, "haproxy.cfg");
  const running = await startForeign("haproxy", async (port) => {
    const config = `
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend pods
  bind 127.0.0.1:${port} accept-proxy
  tcp-request session reject if !{ src ${source} }
  default_backend destinations
backend destinations
  source ${address}
  server any 0.0.0.0
`;
    await writeFile(file, config);
    return ["-f", file, "-db"];
  });
  return {
    port: running.port,
    async [Symbol.asyncDispose]() {
      await running[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
