/** Reads what a stream holds on some subjects, once, from its first message to its last. Never throws; waits for a server that is away. */
import type { Msg } from "@nats-io/transport-node";
import type { Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";

export interface Reading {
  readonly spool: Spool;
  readonly stream: string;
  readonly filter: string;
  readonly headersOnly: boolean;
  /** Ends the reading early; must not have aborted yet. */
  readonly signal: AbortSignal;
  /** false = enough. */
  readonly take: (seq: number, message: Msg) => boolean;
  readonly onRestarted: () => void;
  readonly onRegressed: () => void;
}

/** Resolves when `take` has had enough, nothing is left, or `signal` aborts. */
export function readToEnd(reading: Reading): Promise<void> {
  const { spool, stream, filter, headersOnly, signal } = reading;
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
      start: { kind: "sequence", seq: 1 },
      headersOnly,
      handlers: {
        onMessage: (seq, message) => {
          if (!reading.take(seq, message)) end();
        },
        onCaughtUp: end,
        onRestarted: reading.onRestarted,
        onRegressed: reading.onRegressed,
      },
    });
  });
}
