/**
 * Preloaded into pods by NODE_OPTIONS (`deadlyEnv`): a mail with a mark in it ends its pod whenever it is about to be written to a recipient's
 * host, as a fault in native code would, or memory that runs out. The product has no hook for it.
 */
import { appendFileSync, existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";

const variable = "MAILBOAT_TEST_DEADLY";

interface Deadly {
  /** Of the recipient's host: what is written to others, as to NATS, does no harm. Absent = whoever it is written to. */
  readonly port?: number;
  readonly mark: string;
  /** A line is added to this file at each death; without it nobody dies. */
  readonly deaths: string;
  /** In place of the minute in which all that was queued is suspected (mta-pod/poison.ts): no test waits for three of them. */
  readonly suspectMs?: number;
}

/** For the environment of local mode, which gives it to its pods. */
export function deadlyEnv(deadly: Deadly): Record<string, string> {
  return { NODE_OPTIONS: `--import=${fileURLToPath(import.meta.url)}`, [variable]: JSON.stringify(deadly) };
}

const minute = "const suspectMs = 60_000;";

function shorten(suspectMs: number): void {
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      if (!url.endsWith("/mta-pod/poison.ts")) return loaded;
      const source = String(loaded.source);
      if (!source.includes(minute)) throw new Error(`expected "${minute}" in ${url}`);
      return { ...loaded, source: source.replace(minute, `const suspectMs = ${suspectMs};`) };
    },
  });
}

function arm({ port, mark, deaths, suspectMs }: Deadly): void {
  if (suspectMs !== undefined) shorten(suspectMs);
  const { write } = Socket.prototype;
  const patched = function (this: Socket, ...args: unknown[]): boolean {
    const [chunk] = args;
    const isThere = port === undefined || this.remotePort === port;
    const isDeadly = isThere && Buffer.from(chunk as Uint8Array).includes(mark);
    if (isDeadly && existsSync(deaths)) {
      appendFileSync(deaths, `${process.pid}\n`);
      process.kill(process.pid, "SIGKILL");
    }
    return Reflect.apply(write, this, args) as boolean;
  };
  Socket.prototype.write = patched;
}

const settings = process.env[variable];
if (settings !== undefined && process.argv[1]?.endsWith("/mta-pod/main.ts") === true)
  arm(JSON.parse(settings) as Deadly);
