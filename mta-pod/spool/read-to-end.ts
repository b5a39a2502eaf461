/**
 * Reads what a stream holds on some subjects, once, from one sequence to the last message that its leader has at the start. Never
 * throws; waits for a server that is away.
 */
import type { MsgImpl } from "@nats-io/transport-node";
import { pause, type Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";
import { lastSequence } from "./stream-state.ts";

export interface Reading {
  readonly spool: Spool;
  readonly stream: string;
  readonly filter: string;
  /** The first sequence. */
  readonly from: number;
  readonly headersOnly: boolean;
  /** Ends the reading early; must not have aborted yet. */
  readonly signal: AbortSignal;
  /** false = enough. */
  readonly take: (seq: number, message: MsgImpl) => boolean;
  /** Waited for before the reading goes on after an interruption; must end by itself. */
  readonly beforeRestart?: (() => Promise<void>) | undefined;
  readonly onRestarted: () => void;
  readonly onRegressed: () => void;
}

const retryMs = 200;

/** Resolves when `take` has had enough, nothing is left, or `signal` aborts. */
export async function readToEnd(reading: Reading): Promise<void> {
  const target = await targetOf(reading);
  if (target < reading.from || reading.signal.aborted) return undefined;
  return readUntil(reading, target);
}

/** The last sequence that the leader has, however long it is away; 0 = nothing is stored, or `signal` aborted. */
export async function targetOf({
  spool,
  stream,
  filter,
  signal,
}: Pick<Reading, "spool" | "stream" | "filter" | "signal">): Promise<number> {
  while (!signal.aborted && !spool.closing.aborted) {
    const target = await lastSequence(spool, stream, filter);
    if (target !== undefined) return target;
    await pause(spool.timers, retryMs, signal);
  }
  return 0;
}

function readUntil(reading: Reading, target: number): Promise<void> {
  const { spool, stream, filter, from, headersOnly, signal, beforeRestart } = reading;
  return new Promise((resolve) => {
    const end = (): void => {
      feed.close();
      signal.removeEventListener("abort", end);
      resolve();
    };
    signal.addEventListener("abort", end, { once: true });
    const feed: Feed = openFeed({
      spool,
      stream,
      filter,
      start: { kind: "sequence", seq: from, target },
      headersOnly,
      beforeRestart,
      handlers: {
        onMessage: (seq, read) => {
          if (!reading.take(seq, read()) || seq >= target) end();
        },
        onCaughtUp: end,
        onRestarted: reading.onRestarted,
        onRegressed: reading.onRegressed,
      },
    });
  });
}
