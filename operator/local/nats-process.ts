/** Local mode's own nats-server, kept running on one port; or the one that the user named. */
import { findNatsServer } from "./nats-binary.ts";
import { type NatsServer, startNatsServer } from "./nats-server.ts";
import type { LocalOptions } from "./options.ts";
import type { StateDir } from "./state-dir.ts";
import { readOrCreate, writeAtomic } from "./state-dir.ts";
import { type Started, supervise } from "./supervisor.ts";

export interface LocalNats {
  readonly url: string;
  readonly singleServer: boolean;
  pid(): number | undefined;
  /** Runs when another process has taken the place of one that died. */
  onRestart(listener: () => void): void;
  stop(): Promise<void>;
  kill(): void;
}

/** @throws Error when there is no nats-server to be had, or it does not start */
export async function startLocalNats(options: LocalOptions, state: StateDir): Promise<LocalNats> {
  if (options.nats !== undefined)
    return {
      url: options.nats,
      singleServer: false,
      pid: () => undefined,
      onRestart: () => {},
      stop: async () => {},
      kill: () => {},
    };
  const onFetch = (way: string): void =>
    options.complain(`nats-server is not here yet: fetching it with ${way}`);
  const { path: binary } = await findNatsServer({ env: process.env, onFetch });
  // Loopback, whatever --bind says: the queue's server has no passwords.
  const common = { binary, storeDir: state.file("jetstream"), host: "127.0.0.1" };
  const portFile = state.file("nats.port");
  const first = await startOn(Number(await readOrCreate(portFile, () => "0")), common);
  await writeAtomic(portFile, `${first.port}\n`);
  const listeners: (() => void)[] = [];
  let waiting: NatsServer | undefined = first;
  const supervisor = await supervise({
    async start() {
      const server = waiting ?? (await startNatsServer({ ...common, port: first.port }));
      waiting = undefined;
      return asStarted(server);
    },
    onDeath: ({ pid }, how) =>
      options.complain(`nats-server (process ${pid}) ended: ${how}; starting it again`),
    onFailure: (error) => options.complain(error instanceof Error ? error.message : String(error)),
    onReady: () => listeners.forEach((listener) => listener()),
  });
  return {
    url: first.url,
    singleServer: true,
    pid: () => supervisor.facts()?.pid,
    onRestart: (listener) => void listeners.push(listener),
    stop: () => supervisor.stop(),
    kill: () => supervisor.kill(),
  };
}

/** The port of the last run, so that pods and tools find it again; another one when that is taken by now. */
async function startOn(
  port: number,
  common: { binary: string; storeDir: string; host: string },
): Promise<NatsServer> {
  if (port === 0) return startNatsServer({ ...common, port });
  try {
    return await startNatsServer({ ...common, port });
  } catch {
    return startNatsServer({ ...common, port: 0 });
  }
}

function asStarted(server: NatsServer): Started<{ readonly pid: number }> {
  return {
    facts: { pid: server.pid },
    exited: server.exited.then((code) => (code === null ? "by a signal" : `exit code ${code}`)),
    stop: () => server.stop(),
    kill() {
      try {
        process.kill(server.pid, "SIGKILL");
      } catch {
        // It is gone already.
      }
    },
  };
}
