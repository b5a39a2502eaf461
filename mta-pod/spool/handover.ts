/** What an owner leaves to its successor with the lease (decisions.md 12). Never throws but what the corridor's promise throws. */
import { pause, type Spool } from "./connection.ts";
import type { Identity, LeaseRecord } from "./lease-record.ts";

export interface HandOver extends Identity {
  /**
   * What the owner said when it released the shard: JSON of the corridor's making, to be checked by it. null = it said
   * nothing: it died, was silent for too long, or what it had to say did not fit.
   */
  readonly record: unknown;
}

/** The lease key is read by every pod of the pool, and NATS takes at most 1 MB. */
const maxBytes = 256 * 1024;

export function handOverOf(from: LeaseRecord | undefined): HandOver | null {
  if (from === undefined) return null;
  return { pod: from.pod, incarnation: from.incarnation, record: from.handOver ?? null };
}

export interface Bound {
  readonly spool: Spool;
  readonly ms: number;
}

/** Waits for the corridor's word, at most `ms`; undefined when there is none or it is too long. */
export async function boundedHandOver(
  quiescing: Promise<unknown> | undefined,
  { spool, ms }: Bound,
): Promise<unknown> {
  if (quiescing === undefined) return undefined;
  const ended = new AbortController();
  const said: unknown = await Promise.race([
    quiescing,
    pause(spool.timers, ms, ended.signal).then(() => undefined),
  ]).finally(() => ended.abort());
  const text: string | undefined = JSON.stringify(said);
  if (text === undefined) return undefined;
  if (Buffer.byteLength(text) <= maxBytes) return said;
  spool.options.log.error("hand-over too large", { limit: maxBytes, got: text.length });
  return undefined;
}
