/**
 * What any pod of the pool settled in the last minutes, told to all of them. A nats-server that is killed can bring back what it had
 * acknowledged as deleted: when a delete empties one of its files that has to stay for marks of earlier deletes, no mark of that last
 * delete is written (nats-server 2.15, filestore.go: `removeMsgBlock`, `PurgeEx`). Whoever owns the shard then would send it again.
 * With three copies it can come back much later, when a copy whose server was killed comes to lead.
 * Notes are gathered and sent like events: they never hold up mail.
 */
import { pause, pauseUntil, type Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";
import { createOutbox } from "./outbox.ts";
import { readToEnd, targetOf } from "./read-to-end.ts";
import { firstSequence, lastTime, readStreamState } from "./stream-state.ts";
import type { Cancel } from "./timers.ts";

export interface SettledLog {
  /** The two numbers that stand for a settled entry; see `recent-ids.ts`. Never blocks, never fails. */
  note(one: number, two: number): void;
  /** Resolves once everything that was stored before the call is told; after 15 s anyway, with a warning. */
  caughtUp(): Promise<void>;
  /**
   * Whether what was settled since `time` (ms since 1970) is told, as far as it ever will be: what was received before may have been
   * settled long ago. False for the first seconds at most.
   */
  covers(time: number): boolean;
  /** Sends what is gathered (1 s at most) and ends. */
  close(): Promise<void>;
}

export interface SettledLogOptions {
  /** Somebody, perhaps this pod, settled it. */
  heard(one: number, two: number): void;
  /** The same, of what was settled longer ago than all that `heard` is told. */
  heardOld(one: number, two: number): void;
  /**
   * How far back from the last note a pod that starts reads before old entries are given: what was away as a whole may have been so for
   * long. Default 5 minutes: after 2 to 4 the server has written anew the files that it kept.
   */
  readonly windowMs?: number;
  /** Of `caughtUp`; default 15 s. */
  readonly longestWaitMs?: number;
}

const defaultWindowMs = 300_000;
/** So much further back it reads after that, and about so many notes at most: what anybody keeps in mind (`recent-ids.ts`). */
const oldMs = 3_300_000;
const maxOld = 200_000;
/** By then it is as it is. */
const longestReadMs = 15_000;
/** The clocks of pods and servers differ by less. */
const skewMs = 10_000;
const lingerMs = 100;
const noteBytes = 16;
/** 64 KB. */
const maxBatchBytes = 4096 * noteBytes;
/** Of messages without an acknowledgement; beyond, notes are dropped: it would take the store being away, and then nothing is settled. */
const maxUnderWay = 100;
const giveUpMs = 30_000;
const retryMs = 200;
const closeMs = 1_000;

export function createSettledLog(spool: Spool, options: SettledLogOptions): SettledLog {
  const { eventStream: stream, settledSubject: subject } = spool.names;
  const { clock, log } = spool.options;
  const outbox = createOutbox(spool);
  const { windowMs = defaultWindowMs, longestWaitMs = longestReadMs } = options;
  /** Gathered in one place; what is sent is a copy of what is used of it. */
  const batch = Buffer.allocUnsafeSlow(maxBatchBytes);
  let used = 0;
  let cancelLinger: Cancel | undefined;
  let flushedAt = -Infinity;
  let feed: Feed | undefined;
  const started = { at: clock.monotonic(), time: clock.now() };
  /** ms since 1970; what was settled since then is told. */
  let toldSince = Infinity;
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

  /** How many it holds. */
  const hear = (payload: Uint8Array, take: (one: number, two: number) => void): number => {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    for (let at = 0; at + noteBytes <= payload.byteLength; at += noteBytes)
      take(view.getFloat64(at, true), view.getFloat64(at + 8, true));
    return payload.byteLength / noteBytes;
  };

  /** What is before `from`, which was stored at `since`: as far back as `perMs` notes allow. */
  const readOld = async ({ from, since }: Beginning, perMs: number): Promise<void> => {
    const spanMs = Math.min(oldMs, maxOld / perMs);
    const first = await firstSequence(spool, stream, subject, new Date(since - spanMs));
    if (first === undefined || first === 0 || first >= from) return;
    await readToEnd({
      spool,
      stream,
      filter: subject,
      from: first,
      headersOnly: false,
      signal: spool.closing,
      take(seq, message) {
        if (seq >= from) return false;
        hear(message.data, options.heardOld);
        return true;
      },
      onRestarted: () => {},
      onRegressed: () => {},
    });
  };

  const listen = async (): Promise<void> => {
    const beginning = await beginningOf(spool, windowMs);
    if (beginning === undefined || spool.closing.aborted) return;
    const { from, since } = beginning;
    let count = 0;
    feed = openFeed({
      spool,
      stream,
      filter: subject,
      start: { kind: "sequence", seq: from },
      headersOnly: false,
      handlers: {
        onMessage: (_seq, read) => {
          count += hear(read().data, options.heard);
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
    // Once is enough: what a stream that was made anew holds is young.
    if (toldSince < Infinity) return;
    toldSince = since;
    if (since === -Infinity) return;
    await reachEnd(spool.closing);
    await readOld(beginning, Math.max(1, count) / Math.max(1, windowMs));
    toldSince = -Infinity;
  };

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
  /** Of what is stored now. */
  const reachEnd = async (signal: AbortSignal): Promise<void> =>
    reached(await targetOf({ spool, stream, filter: subject, signal }), signal);
  void listen();

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
      await reachEnd(signal);
      cancel();
      if (late.signal.aborted)
        log.warn("what was settled lately is not known", { stream, waitedMs: longestWaitMs });
    },
    covers: (time) =>
      time >= started.time || time - skewMs > toldSince || clock.monotonic() - started.at > longestReadMs,
    async close() {
      flush();
      await pauseUntil(spool, () => outbox.pending() === 0, closeMs);
      feed?.close();
      outbox.close();
    },
  };
}

interface Beginning {
  /** A sequence. */
  readonly from: number;
  /** What was settled since then is noted from there on; ms since 1970, -Infinity = all. */
  readonly since: number;
}

/** Where the notes of the last `windowMs` begin: behind the stream's end when there are none. undefined = the spool closes. */
async function beginningOf(spool: Spool, windowMs: number): Promise<Beginning | undefined> {
  const { eventStream: stream, settledSubject: subject } = spool.names;
  for (;;) {
    // Before the question: what is stored in between is behind it.
    const state = await readStreamState(spool, stream);
    const last = state === undefined ? undefined : await lastTime(spool, stream, subject);
    if (state !== undefined && last === 0) return { from: state.lastSeq + 1, since: -Infinity };
    const since = last === undefined ? undefined : new Date(last - windowMs);
    const first = since === undefined ? undefined : await firstSequence(spool, stream, subject, since);
    // 0 = they were dropped with age in between.
    if (state !== undefined && first !== undefined && since !== undefined)
      return { from: first === 0 ? state.lastSeq + 1 : first, since: since.getTime() };
    if (spool.closing.aborted) return undefined;
    await pause(spool.timers, retryMs, spool.closing);
  }
}
