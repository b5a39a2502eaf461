/**
 * What any pod of the pool settled in the last minutes, told to all of them. A nats-server that is killed can bring back what it had
 * acknowledged as deleted: when a delete empties one of its files that has to stay for marks of earlier deletes, no mark of that last
 * delete is written (nats-server 2.15, filestore.go: `removeMsgBlock`, `PurgeEx`). Whoever owns the shard then would send it again.
 * Notes are gathered and sent like events: they never hold up mail.
 */
import { pause, pauseUntil, type Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";
import { createOutbox } from "./outbox.ts";
import { targetOf } from "./read-to-end.ts";
import { firstSequence, lastTime, readStreamState } from "./stream-state.ts";
import type { Cancel } from "./timers.ts";

export interface SettledLog {
  /** The two numbers that stand for a settled entry; see `recent-ids.ts`. Never blocks, never fails. */
  note(one: number, two: number): void;
  /** Resolves once everything that was stored before the call is told; after 5 s anyway, with a warning. */
  caughtUp(): Promise<void>;
  /** Sends what is gathered (1 s at most) and ends. */
  close(): Promise<void>;
}

export interface SettledLogOptions {
  /** Somebody, perhaps this pod, settled it. */
  heard(one: number, two: number): void;
  /**
   * How far back from the last note a pod that starts reads: what was away as a whole may have been so for long. Default 5 minutes:
   * after 2 to 4 the server has written anew the files that it kept.
   */
  readonly windowMs?: number;
}

const defaultWindowMs = 300_000;
const lingerMs = 100;
const noteBytes = 16;
/** 64 KB. */
const maxBatchBytes = 4096 * noteBytes;
/** Of messages without an acknowledgement; beyond, notes are dropped: it would take the store being away, and then nothing is settled. */
const maxUnderWay = 100;
const giveUpMs = 30_000;
const retryMs = 200;
const longestWaitMs = 5_000;
const closeMs = 1_000;

export function createSettledLog(spool: Spool, options: SettledLogOptions): SettledLog {
  const { eventStream: stream, settledSubject: subject } = spool.names;
  const { clock, log } = spool.options;
  const outbox = createOutbox(spool);
  const { windowMs = defaultWindowMs } = options;
  /** Gathered in one place; what is sent is a copy of what is used of it. */
  const batch = Buffer.allocUnsafeSlow(maxBatchBytes);
  let used = 0;
  let cancelLinger: Cancel | undefined;
  let flushedAt = -Infinity;
  let feed: Feed | undefined;
  const arrivals = new Set<() => void>();

  const flush = (): void => {
    cancelLinger?.();
    cancelLinger = undefined;
    flushedAt = clock.monotonic();
    if (used === 0) return;
    const payload = Buffer.from(batch.subarray(0, used));
    used = 0;
    if (outbox.pending() < maxUnderWay) outbox.put({ subject, headers: [], payload, giveUpMs }, () => {});
  };

  const hear = (payload: Uint8Array): void => {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    for (let at = 0; at + noteBytes <= payload.byteLength; at += noteBytes)
      options.heard(view.getFloat64(at, true), view.getFloat64(at + 8, true));
  };

  const listen = async (): Promise<void> => {
    const from = await firstOf(spool, windowMs);
    if (from === undefined || spool.closing.aborted) return;
    feed = openFeed({
      spool,
      stream,
      filter: subject,
      start: { kind: "sequence", seq: from },
      headersOnly: false,
      handlers: {
        onMessage: (_seq, message) => {
          hear(message.data);
          for (const arrived of arrivals) arrived();
        },
        onCaughtUp: () => {},
        // The stream was made anew, or lost its end: what it holds now is heard again.
        onRegressed: () => {
          feed = undefined;
          void listen();
        },
      },
    });
    for (const arrived of arrivals) arrived();
  };
  void listen();

  /** Resolves when the feed has come to `seq`, or `signal` aborts. */
  const reached = (seq: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!signal.aborted && (feed === undefined || feed.position() < seq)) return;
        arrivals.delete(look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      arrivals.add(look);
      signal.addEventListener("abort", look);
      look();
    });

  return {
    note(one, two) {
      batch.writeDoubleLE(one, used);
      batch.writeDoubleLE(two, used + 8);
      used += noteBytes;
      if (used === maxBatchBytes) return flush();
      // At once when it is the first for a while; what is settled together in this turn goes along.
      const dueMs = Math.max(0, flushedAt + lingerMs - clock.monotonic());
      cancelLinger ??= spool.timers.after(dueMs, flush);
      return undefined;
    },
    async caughtUp() {
      const late = new AbortController();
      const cancel = spool.timers.after(longestWaitMs, () => late.abort());
      const signal = AbortSignal.any([late.signal, spool.closing]);
      await reached(await targetOf({ spool, stream, filter: subject, signal }), signal);
      cancel();
      if (late.signal.aborted)
        log.warn("what was settled lately is not known", { stream, waitedMs: longestWaitMs });
    },
    async close() {
      flush();
      await pauseUntil(spool, () => outbox.pending() === 0, closeMs);
      feed?.close();
      outbox.close();
    },
  };
}

/** Where the notes of the last `windowMs` begin: behind the stream's end when there are none. undefined = the spool closes. */
async function firstOf(spool: Spool, windowMs: number): Promise<number | undefined> {
  const { eventStream: stream, settledSubject: subject } = spool.names;
  for (;;) {
    // Before the question: what is stored in between is behind it.
    const state = await readStreamState(spool, stream);
    const last = state === undefined ? undefined : await lastTime(spool, stream, subject);
    if (state !== undefined && last === 0) return state.lastSeq + 1;
    const since = last === undefined ? undefined : new Date(last - windowMs);
    const first = since === undefined ? undefined : await firstSequence(spool, stream, subject, since);
    // 0 = they were dropped with age in between.
    if (state !== undefined && first !== undefined) return first === 0 ? state.lastSeq + 1 : first;
    if (spool.closing.aborted) return undefined;
    await pause(spool.timers, retryMs, spool.closing);
  }
}
