/** A real nats-server for tests: its own store and port, killed with the test. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findNatsServer } from "#operator/local/nats-binary.ts";
import { type NatsServer, startNatsServer } from "#operator/local/nats-server.ts";

export interface TestNats extends AsyncDisposable {
  /** The same before and after `restart()`. */
  readonly url: string;
  pid(): number;
  /** kill -9. */
  kill(): Promise<void>;
  /** Starts it again on the same port and store; stops it first (SIGTERM) when it still runs. */
  restart(): Promise<void>;
  /** Kills it, copies its store and starts it again. */
  save(): Promise<void>;
  /** Kills it and starts it again with the store of `save()`, as after a loss of power: what came since was never written. */
  loseSinceSaved(): Promise<void>;
}

export interface TestNatsOptions {
  readonly maxStoreBytes?: number;
}

/** @example await using nats = await startTestNats(); */
export async function startTestNats(options: TestNatsOptions = {}): Promise<TestNats> {
  const { path: binary } = await findNatsServer({ env: process.env });
  const storeDir = await mkdtemp(join(tmpdir(), "mailboat-test-nats-"));
  const start = (port: number): Promise<NatsServer> =>
    startNatsServer({ binary, storeDir, port, host: "127.0.0.1", ...options });
  let server = await start(0);
  // A test that crashes its process must not leave the server behind.
  const killAtExit = (): void => killQuietly(server.pid);
  process.once("exit", killAtExit);
  const { url, port } = server;
  const saved = `${storeDir}-saved`;
  const kill = async (): Promise<void> => {
    process.kill(server.pid, "SIGKILL");
    await server.exited;
  };
  return {
    url,
    pid: () => server.pid,
    kill,
    async restart() {
      await server.stop();
      server = await start(port);
    },
    async save() {
      await kill();
      await rm(saved, { recursive: true, force: true });
      await cp(storeDir, saved, { recursive: true });
      server = await start(port);
    },
    async loseSinceSaved() {
      await kill();
      await rm(storeDir, { recursive: true, force: true });
      await cp(saved, storeDir, { recursive: true });
      server = await start(port);
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", killAtExit);
      await server.stop();
      for (const folder of [storeDir, saved]) await rm(folder, { recursive: true, force: true });
    },
  };
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
