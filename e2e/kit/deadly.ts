/**
 * Preloaded into pods by NODE_OPTIONS (`deadlyEnv`): a mail with a mark in it ends its pod whenever it is about to be written to a recipient's
 * host, as a fault in native code would, or memory that runs out. The product has no hook for it.
 */
import { appendFileSync, existsSync } from "node:fs";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";

const variable = "MAILBOAT_TEST_DEADLY";

interface Deadly {
  /** Of the recipient's host: what is written to others, as to NATS, does no harm. */
  readonly port: number;
  readonly mark: string;
  /** A line is added to this file at each death; without it nobody dies. */
  readonly deaths: string;
}

/** For the environment of local mode, which gives it to its pods. */
export function deadlyEnv(deadly: Deadly): Record<string, string> {
  return { NODE_OPTIONS: `--import=${fileURLToPath(import.meta.url)}`, [variable]: JSON.stringify(deadly) };
}

function arm({ port, mark, deaths }: Deadly): void {
  const { write } = Socket.prototype;
  const patched = function (this: Socket, ...args: unknown[]): boolean {
    const [chunk] = args;
    const isDeadly = this.remotePort === port && Buffer.from(chunk as Uint8Array).includes(mark);
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
