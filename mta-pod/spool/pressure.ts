/**
 * What an owner that cannot keep up tells the pods that take mail in: for some milliseconds hold back what goes to these
 * shards. Core NATS, nothing durable: a word that is lost costs a few milliseconds of too much mail. Never throws.
 */
import type { Spool } from "./connection.ts";

export interface Pressure {
  /** To all pods of the pool, this one included. */
  tell(shards: readonly number[], ms: number): void;
  /** Monotonic time until which the shard's owner wants no more; 0 = it said nothing. */
  until(shard: number): number;
  close(): void;
}

/** Whoever is heard cannot hold mail back for longer with one word. */
const maxMs = 1_000;

export function createPressure(spool: Spool): Pressure {
  const { nc, names, options } = spool;
  const until = new Map<number, number>();
  const subscription = nc.subscribe(names.pressureSubject, {
    callback: (error, message) => {
      if (error === null) heed(message.data);
    },
  });

  const heed = (data: Uint8Array): void => {
    const told = decode(data);
    if (told === undefined) return;
    const end = options.clock.monotonic() + Math.min(told.ms, maxMs);
    for (const shard of told.shards) if (shard < options.shards) until.set(shard, end);
  };

  return {
    tell(shards, ms) {
      if (!spool.connected() || nc.isClosed()) return;
      nc.publish(names.pressureSubject, JSON.stringify([ms, ...shards]));
    },
    until: (shard) => until.get(shard) ?? 0,
    close: () => subscription.unsubscribe(),
  };
}

/** `[ms, shard, …]` */
function decode(data: Uint8Array): { ms: number; shards: number[] } | undefined {
  let said: unknown;
  try {
    said = JSON.parse(Buffer.from(data).toString("latin1"));
  } catch {
    return undefined;
  }
  if (!Array.isArray(said) || !said.every((one) => Number.isSafeInteger(one) && one >= 0)) return undefined;
  const [ms = 0, ...shards] = said as number[];
  return { ms, shards };
}
