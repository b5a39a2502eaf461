/** Starts a peer's program in a control group of its own and waits until it answers. Throws Error with its last lines when it does not. */
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startChild } from "../child.ts";
import type { RunningPath } from "../contender.ts";
import { createControlGroup } from "./control-group.ts";

export interface PeerProgram {
  readonly name: string;
  /** Program and arguments; runs in the foreground. */
  readonly command: readonly [string, ...string[]];
  readonly env?: NodeJS.ProcessEnv;
  readonly port: number;
}

/** Of a loaded machine. */
const readyMs = 120_000;
const pollMs = 50;
const stopMs = 10_000;

export async function startPeer({ name, command, env, port }: PeerProgram): Promise<RunningPath> {
  const group = createControlGroup(name);
  const said: string[] = [];
  const join = 'echo 0 > "$0" && exec "$@"';
  const child = startChild("/bin/sh", ["-c", join, group.procsFile, ...command], {
    env: { ...process.env, ...env },
    onError: (line) => said.push(line),
  });
  const stop = async (): Promise<void> => {
    child.signal("SIGTERM");
    await Promise.race([child.exited, delay(stopMs, undefined, { ref: false })]);
    await group.end();
  };
  try {
    await greeted(port, child.exited);
  } catch (error) {
    await stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot use ${name}: ${reason}\n${said.slice(-20).join("\n")}`, { cause: error });
  }
  return {
    smtpPort: port,
    get podPids() {
      return group.pids();
    },
    natsPid: undefined,
    cpuSeconds: () => group.cpuSeconds(),
    stop,
  };
}

/** @throws Error when it ends, or says no 220 in time */
async function greeted(port: number, exited: Promise<number | null>): Promise<void> {
  let isOver = false;
  void exited.then(() => {
    isOver = true;
  });
  const deadline = performance.now() + readyMs;
  while (performance.now() < deadline) {
    if (isOver) throw new Error(`expected it to run, got exit ${(await exited) ?? "by a signal"}`);
    if ((await greeting(port)).startsWith("220")) return;
    await delay(pollMs);
  }
  throw new Error(`expected a 220 on port ${port} within ${readyMs} ms, got none`);
}

function greeting(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.setTimeout(1000, () => socket.destroy());
    socket.once("error", () => resolve(""));
    socket.once("close", () => resolve(""));
    socket.once("data", (bytes) => {
      resolve(bytes.toString("latin1"));
      socket.end("QUIT\r\n");
    });
  });
}

/** Writes a configuration of this folder with its @WORDS@ filled in. @throws Error on a word that is not given */
export async function writeConfiguration(
  name: string,
  target: string,
  words: Readonly<Record<string, string | number>>,
): Promise<void> {
  const text = await readFile(fileURLToPath(new URL(name, import.meta.url)), "utf8");
  const filled = text.replaceAll(/@([A-Z_]+)@/g, (_, word: string) => {
    const value = words[word];
    if (value === undefined) throw new Error(`Cannot fill ${name}: expected a value for @${word}@, got none`);
    return String(value);
  });
  await writeFile(target, filled);
}
