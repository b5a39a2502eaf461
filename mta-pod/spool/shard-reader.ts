/**
 * Feeds a shard's index: at take-over the state records, then the last entries and behind them the others from old to new, while
 * new arrivals are given at once, and from then on every entry that is stored. Each entry is given once. It never throws; a server that is away
 * is waited for. When the stream turns out to be another than the one that was indexed, it says so and starts again.
 */
import type { MsgImpl } from "@nats-io/transport-node";
import type { Issue } from "#crds/values/issue.ts";
import { decodeEnvelope, type Envelope, envelopeHeader, retryHeader } from "#crds/wire/envelope.ts";
import { decodeState, type StateRecord } from "#crds/wire/state-record.ts";
import type { Spool } from "./connection.ts";
import { type Feed, openFeed } from "./feed.ts";
import { firstLook } from "./first-look.ts";
import { createLocalNotes } from "./local-notes.ts";
import { readToEnd } from "./read-to-end.ts";
import { createIndexCheck, type IndexCheck } from "./index-check.ts";
import { deleteMessage, type StreamState } from "./stream-state.ts";

interface EntryAt {
  readonly seq: number;
  readonly subject: string;
}

interface ReaderHandlers {
  /** What is known of a deferred entry, before the entry itself is given. */
  onState(entrySeq: number, stateSeq: number, record: StateRecord): void;
  /** `retry` = a repeated publish, whose first copy may have been settled already. */
  onEntry(at: EntryAt, envelope: Envelope, retry: boolean): void;
  /** Stored, but not to be understood: parked, never bounced or deleted. `id` is its Nats-Msg-Id. */
  onDamaged(at: EntryAt & { readonly id: string }, issues: readonly Issue[]): void;
  /** Everything stored at take-over is given; `count` entries of it. */
  onIndexed(count: number): void;
  /** The sequences given so far mean nothing any more: forget them, all comes again. */
  onReset(reason: string): void;
  /** The stream has lost its end, and with it the owner's epoch: nothing is read until there is a new one. */
  onEpochLost?(): void;
  /**
   * How many entries the index believes to be stored, those being attempted included: for the integrity check.
   * Without it only the stream's identity is checked.
   */
  readonly indexSize?: () => number;
  /** Whether this entry is one of those. */
  readonly knows?: (seq: number) => boolean;
}

export interface ReaderOptions {
  readonly spool: Spool;
  readonly shard: number;
  readonly leaseSeq: number;
  readonly handlers: ReaderHandlers;
  /** Waited for before entries are given that were stored before the take-over, and again when the server was away meanwhile; ends by itself. */
  readonly beforeScan?: () => Promise<void>;
  /** Default 1 minute. */
  readonly checkEveryMs?: number;
  /** So many sequences at the stream's end are given first. Default 10,000. */
  readonly freshSequences?: number | undefined;
  /** So long a stream that ends before our epoch is taken for one that lags. Default 5 s. */
  readonly lagMs?: number | undefined;
}

export interface ShardReader {
  /**
   * Said right after this process stored `seq` itself: true = the caller indexes it now and the reader will not give
   * it; false = the reader has given it or will.
   */
  noteLocal(seq: number): boolean;
  /** Once indexed: every entry up to here was given or noted. */
  passed(): number;
  close(): void;
}

const defaultCheckMs = 60_000;
/** Of a queue of a million those are read within a tenth of a second: mail of who has little queued is among them. */
const defaultFreshSequences = 10_000;
/** Orphans removed at a time. */
const removing = 32;

export function openShard(options: ReaderOptions): ShardReader {
  const reader = new Reader(options);
  reader.begin();
  return reader;
}

/** One reading of the stream, from take-over to reset or close. */
interface Run {
  readonly ended: AbortController;
  readonly check: IndexCheck;
  /** The last sequence at take-over: up to it the scan gives entries, behind it the tail. */
  readonly boundary: number;
  tail: Feed | undefined;
  /** Nothing up to here will come any more from the tail. */
  passed: number;
  indexed: boolean;
}

class Reader implements ShardReader {
  readonly #options: ReaderOptions;
  readonly #spool: Spool;
  readonly #stream: string;
  readonly #notes = createLocalNotes();
  #run: Run | undefined;
  #closed = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#spool = options.spool;
    this.#stream = options.spool.names.shardStream(options.shard);
  }

  begin(): void {
    void this.#takeOver();
  }

  noteLocal(seq: number): boolean {
    const run = this.#run;
    if (run === undefined || seq <= run.boundary) return false;
    if (run.tail !== undefined && seq <= run.tail.position()) return false;
    this.#notes.add(seq);
    return true;
  }

  passed = (): number => this.#run?.passed ?? 0;

  close(): void {
    this.#closed = true;
    this.#endRun();
  }

  #endRun(): void {
    this.#run?.ended.abort();
    this.#run = undefined;
    this.#notes.clear();
  }

  #reset(run: Run, reason: string): void {
    if (this.#run !== run) return;
    this.#spool.options.log.warn("index reset", { stream: this.#stream, reason });
    this.#endRun();
    this.#options.handlers.onReset(reason);
    if (!this.#closed) void this.#takeOver();
  }

  async #takeOver(): Promise<void> {
    const found = await firstLook({
      ...this.#options,
      stream: this.#stream,
      isClosed: () => this.#closed,
      onEpochLost: () => this.#options.handlers.onEpochLost?.(),
    });
    if (found === undefined || this.#closed) return;
    const run = this.#newRun(found);
    this.#run = run;
    const waiting = await this.#readStates(run);
    if (this.#run !== run) return;
    run.tail = this.#openTail(run);
    await this.#options.beforeScan?.();
    if (this.#run !== run) return;
    const count = found.messages === 0 ? 0 : await this.#scan(run, waiting);
    if (this.#run !== run) return;
    run.indexed = true;
    this.#options.handlers.onIndexed(count);
    await this.#removeOrphans(run, waiting);
  }

  #newRun({ created, lastSeq }: StreamState): Run {
    const { handlers, shard } = this.#options;
    const ended = new AbortController();
    const run: Run = {
      ended,
      check: createIndexCheck({
        spool: this.#spool,
        stream: this.#stream,
        filter: this.#spool.names.entryFilter(shard),
        signal: ended.signal,
        everyMs: this.#options.checkEveryMs ?? defaultCheckMs,
        onWrong: (what) => this.#reset(run, what),
        indexed: {
          created,
          given: () => Math.max(run.boundary, run.tail?.position() ?? 0),
          passed: () => run.passed,
          isComplete: () => run.indexed,
          size: handlers.indexSize,
          knows: handlers.knows,
        },
      }),
      boundary: lastSeq,
      tail: undefined,
      passed: lastSeq,
      indexed: false,
    };
    return run;
  }

  /** Resolves to the state records by entry, once all are given. */
  #readStates(run: Run): Promise<Map<number, number>> {
    const { handlers, shard } = this.#options;
    const waiting = new Map<number, number>();
    const filter = this.#spool.names.stateFilter(shard);
    return this.#readToEnd(run, { filter, from: 1 }, (seq, message) => {
      const entrySeq = Number(message.subject.slice(message.subject.lastIndexOf(".") + 1));
      const record = decodeState(message.string());
      if (record.ok) handlers.onState(entrySeq, seq, record.value);
      else
        this.#spool.options.log.error("state damaged", {
          stream: this.#stream,
          seq,
          issue: record.issues[0],
        });
      // An unreadable record is kept as long as its entry is: a later release may read it.
      waiting.set(entrySeq, seq);
      return true;
    }).then(() => waiting);
  }

  /** Gives the entries up to the boundary, the last ones first; takes the state of each from `waiting`. Resolves to their number. */
  async #scan(run: Run, waiting: Map<number, number>): Promise<number> {
    const filter = this.#spool.names.entryFilter(this.#options.shard);
    const freshFrom = Math.max(1, run.boundary + 1 - (this.#options.freshSequences ?? defaultFreshSequences));
    let count = 0;
    const give = (from: number, to: number): Promise<void> =>
      this.#readToEnd(run, { filter, from }, (seq, message) => {
        if (seq > to) return false;
        waiting.delete(seq);
        count++;
        this.#give(seq, message);
        return true;
      });
    await give(freshFrom, run.boundary);
    if (freshFrom > 1 && this.#run === run) await give(1, freshFrom - 1);
    return count;
  }

  #readToEnd(
    run: Run,
    { filter, from }: { readonly filter: string; readonly from: number },
    take: (seq: number, message: MsgImpl) => boolean,
  ): Promise<void> {
    return readToEnd({
      spool: this.#spool,
      stream: this.#stream,
      filter,
      from,
      headersOnly: filter === this.#spool.names.entryFilter(this.#options.shard),
      signal: run.ended.signal,
      take,
      // What it brings back of deletes may have been noted as settled since we looked.
      beforeRestart: this.#options.beforeScan,
      onRestarted: () => run.check.restarted(),
      onRegressed: () => this.#reset(run, "sequences went back"),
    });
  }

  #openTail(run: Run): Feed {
    const notes = this.#notes;
    const tail = openFeed({
      spool: this.#spool,
      stream: this.#stream,
      filter: this.#spool.names.entryFilter(this.#options.shard),
      start: { kind: "sequence", seq: run.boundary + 1 },
      headersOnly: true,
      handlers: {
        onMessage: (seq, read) => {
          run.passed = Math.max(run.passed, seq);
          if (!notes.pass(seq)) this.#give(seq, read());
        },
        onCaughtUp: () => {},
        onPassed: (seq) => {
          run.passed = Math.max(run.passed, seq);
          notes.pass(seq);
        },
        onRestarted: () => run.check.restarted(),
        onRegressed: () => this.#reset(run, "sequences went back"),
      },
    });
    run.ended.signal.addEventListener("abort", () => tail.close(), { once: true });
    return tail;
  }

  #give(seq: number, message: MsgImpl): void {
    const { handlers } = this.#options;
    const headers = message.headers;
    const envelope = decodeEnvelope(headers?.get(envelopeHeader) ?? "");
    const at = { seq, subject: message.subject };
    if (envelope.ok) handlers.onEntry(at, envelope.value, headers?.has(retryHeader) === true);
    else handlers.onDamaged({ ...at, id: headers?.get("Nats-Msg-Id") ?? "" }, envelope.issues);
  }

  async #removeOrphans(run: Run, waiting: ReadonlyMap<number, number>): Promise<void> {
    const orphans: number[] = [];
    // State of an entry behind the boundary is ours and young: its entry comes by the tail.
    for (const [entrySeq, stateSeq] of waiting) if (entrySeq <= run.boundary) orphans.push(stateSeq);
    if (orphans.length > 0)
      this.#spool.options.log.info("orphan states", { stream: this.#stream, count: orphans.length });
    for (let from = 0; from < orphans.length && this.#run === run; from += removing)
      await Promise.all(
        orphans
          .slice(from, from + removing)
          .map((stateSeq) => deleteMessage(this.#spool, this.#stream, stateSeq)),
      );
  }
}
