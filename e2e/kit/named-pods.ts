/**
 * Preloaded into pods by NODE_OPTIONS (`namedPods`): each says EHLO with the id of its process, so that a sink knows who sent which copy,
 * also when that process is gone by then. The product has no hook for it.
 */
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";

const variable = "MAILBOAT_TEST_NAMED_PODS";

/** For the environment of local mode, which gives it to its pods. */
export const namedPods: Readonly<Record<string, string>> = {
  NODE_OPTIONS: `--import=${fileURLToPath(import.meta.url)}`,
  [variable]: "yes",
};

/** The process that says so; 0 = it does not tell. */
export function processOf(ehlo: string): number {
  return Number(/^EHLO pid(\d+)\.test$/i.exec(ehlo)?.[1] ?? 0);
}

function arm(): void {
  const { write } = Socket.prototype;
  const patched = function (this: Socket, ...args: unknown[]): boolean {
    const [chunk, ...rest] = args;
    const isGreeting = typeof chunk === "string" && /^EHLO \S+\r\n$/.test(chunk);
    const said = isGreeting ? `EHLO pid${process.pid}.test\r\n` : chunk;
    return Reflect.apply(write, this, [said, ...rest]) as boolean;
  };
  Socket.prototype.write = patched;
}

if (process.env[variable] !== undefined && process.argv[1]?.endsWith("/mta-pod/main.ts") === true) arm();
