/**
 * Is the stream still the one that was indexed, and is all that it holds in the index? Asks from time to time and after
 * each restart of a feed; never throws. What is stored and in no index would be mail that nobody sends, so this looks for
 * it however unlikely it is.
 */
import { pause, type Spool } from "./connection.ts";
import type { Cancel } from "./timers.ts";
import { countMessages, firstSequence, readStreamState, type StreamState } from "./stream-state.ts";

/** The index, as far as it is built. */
interface Indexed {
  /** When the stream was made. */
  readonly created: string;
  /** Every entry up to here was given, at least. */
  given(): number;
  /** Nothing up to here will come any more. */
  passed(): number;
  isComplete(): boolean;
  /** Entries believed to be stored, those being attempted included. */
  readonly size: (() => number) | undefined;
  /** Whether the entry is one of them. */
  readonly knows: ((seq: number) => boolean) | undefined;
}

export interface IndexCheckOptions {
  readonly spool: Spool;
  readonly stream: string;
  /** Of the entries. */
  readonly filter: string;
  readonly indexed: Indexed;
  /** Ends the checks; nothing is found afterwards. */
  readonly signal: AbortSignal;
  readonly everyMs: number;
  onWrong(what: string): void;
}

export interface IndexCheck {
  /** A feed was begun anew: it may stand on a replica that lags, or on another stream of that name. */
  restarted(): void;
}

const lookMs = 1_000;
/** So often in a row the same has to be seen: a delete, or what a new leader has still to apply, takes a moment. */
const looks = 3;
/** So long after a restart all is compared: by then deletes that waited for the server are done. */
const restartLookMs = 5_000;

/** Checks from time to time until `signal` aborts. */
export function createIndexCheck(options: IndexCheckOptions): IndexCheck {
  const { spool, stream, filter, indexed, signal } = options;
  let lastDifference = 0;
  let cancelLook: Cancel | undefined;

  /** Entries stored against entries indexed, of a stream where nothing moves: the same difference twice is real. */
  const compare = async (state: StreamState): Promise<string | undefined> => {
    const before = indexed.size?.();
    if (before === undefined || state.lastSeq !== indexed.passed()) return undefined;
    const stored = await countMessages(spool, stream, filter);
    if (stored === undefined) return undefined;
    const isStill = indexed.size?.() === before && indexed.passed() === state.lastSeq;
    const difference = isStill ? stored - before : 0;
    if (difference !== 0 && difference === lastDifference)
      return `${stored} entries stored, ${before} indexed`;
    lastDifference = difference;
    return undefined;
  };

  /** While mail flows counts never match, but what nobody sends becomes the oldest. */
  const lookAtOldest = async (): Promise<string | undefined> => {
    let suspect = 0;
    for (let look = 0; look < looks; look++) {
      if (look > 0) await pause(spool.timers, lookMs, signal);
      const oldest = await firstSequence(spool, stream, filter);
      if (oldest === undefined || oldest === 0 || oldest > indexed.passed()) return undefined;
      if (signal.aborted || indexed.knows?.(oldest) !== false) return undefined;
      if (look > 0 && oldest !== suspect) return undefined;
      suspect = oldest;
    }
    return `entry ${suspect} is stored and not indexed`;
  };

  /** What is wrong; with `isThorough` also the entries are compared. */
  const find = async (isThorough: boolean): Promise<string | undefined> => {
    // Read before the question is sent: while it is under way the tail goes on.
    const given = indexed.given();
    let state = await readStreamState(spool, stream);
    if (state !== undefined && state.lastSeq < given) {
      // A new leader that has not yet applied all it was sent says so too, for a moment.
      await pause(spool.timers, lookMs, signal);
      state = await readStreamState(spool, stream);
    }
    if (state === undefined || signal.aborted) return undefined;
    if (state.created !== indexed.created) return "the stream was made anew";
    if (state.lastSeq < given) return "the stream lost its end";
    if (!isThorough || !indexed.isComplete()) return undefined;
    return (await compare(state)) ?? lookAtOldest();
  };

  const look = async (isThorough: boolean): Promise<void> => {
    const wrong = await find(isThorough);
    if (wrong !== undefined && !signal.aborted) options.onWrong(wrong);
  };

  const stopChecks = spool.timers.every(options.everyMs, () => void look(true));
  const stop = (): void => {
    stopChecks();
    cancelLook?.();
    spool.closing.removeEventListener("abort", stop);
  };
  signal.addEventListener("abort", stop, { once: true });
  spool.closing.addEventListener("abort", stop, { once: true });

  return {
    restarted() {
      if (signal.aborted) return;
      void look(false);
      cancelLook?.();
      cancelLook = spool.timers.after(restartLookMs, () => void look(true));
    },
  };
}
