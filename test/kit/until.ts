/** Waiting for a condition in tests: a bounded poll in place of a sleep. */
import { setTimeout as delay } from "node:timers/promises";

/**
 * Resolves with the first value that is not undefined or false.
 * @throws Error after `boundMs` (default 10 s), naming what was awaited
 */
export async function until<Value>(
  what: string,
  look: () => Value | undefined | false | Promise<Value | undefined | false>,
  boundMs = 10_000,
): Promise<Value> {
  const deadline = performance.now() + boundMs;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited ${boundMs} ms for ${what} in vain`);
    await delay(20);
  }
}
