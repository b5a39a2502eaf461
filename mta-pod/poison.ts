/**
 * CORRIDOR: what to do with an entry whose handling fails: tried again twice, then set aside ("parked") with an alarm; it stays stored, is
 * shown, and goes on when somebody says so. Also an entry that ends its pod: after an owner's death, the first, what was queued and may have
 * been under way is noted as begun before it is attempted, and what was under way at two deaths more is parked. Never throws.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { Loaded } from "./load.ts";
import type { Suspicion } from "./hand-over-record.ts";
import { createLaneHeads, type LaneHeads } from "./lane-heads.ts";
import type { Pod } from "./pod.ts";
import type { Dispatch, Entry } from "./schedule/types.ts";
import type { How } from "./spool/lease-state.ts";

/** Tries, or deaths of its pod, after which an entry is parked. */
const maxTries = 3;
/** Of those deaths: the first, when it was merely queued, left no note. */
const maxNoted = maxTries - 1;
const firstPauseMs = 2000;
/** So long after a take-over all that was queued is suspected: by then the one that killed has mostly had its turn. */
const suspectMs = 60_000;
/** Afterwards so many of each lane for each that may be under way at its site: what was sent and not yet deleted comes again as well. */
const headsEach = 2;
/** From this many noted deaths on an entry is attempted alone, so that those beside it are not taken for it. */
const aloneFrom = 1;
const alonePauseMs = 250;
const rewriteMs = 2000;
const maxReason = 300;

export interface ParkedEntry {
  readonly shard: number;
  readonly seq: number;
  /** The message's, or what is known of it when its envelope cannot be read. */
  readonly id: string;
  readonly envelope: Envelope | undefined;
  /** Under which it is stored, where its envelope cannot be read: that tells whose it is. */
  readonly subject?: string | undefined;
  readonly reason: string;
}

type Kept = Pick<Entry, "shard" | "seq" | "idHash" | "attempt" | "due">;
type Notable = Pick<Loaded, "open" | "last" | "leaseSeq" | "started" | "stateSeq">;

interface KnownOf {
  readonly envelope?: Envelope | undefined;
  /** Recipients still open; absent = as its state record says, or all. */
  readonly open?: readonly number[] | undefined;
  readonly reason: string;
}

export interface Poison {
  /** A shard is ours; `how` tells whether its former owner died, `told` what it suspected when it handed the shard over. */
  owned(shard: number, how: How, told?: Suspicion): void;
  lost(shard: number): void;
  /** All of the shard is read again: what is parked comes again, what is suspected stays so. */
  reread(shard: number): void;
  suspicion(shard: number): Suspicion | undefined;
  /** Of a stored record that the owner before left: its entry is parked, or is to be, as its pods died with it. Told as it is indexed. */
  verdict(shard: number, seq: number, state: StateRecord | undefined): "parked" | "deadly" | "fine";
  keep(parked: ParkedEntry): void;
  release(shard: number, seq: number): void;
  list(): Iterable<ParkedEntry>;
  /** Parked entries of a shard: stored, and in no index. */
  sizeOf(shard: number): number;
  has(shard: number, seq: number): boolean;
  /** It is not written yet that the entry is parked: what is written before that would be undone by it. */
  isBeingParked(shard: number, seq: number): boolean;
  /** Handling failed: ms until it is tried again, or "park". `isLast` = another try could send it twice. */
  failed(entry: Kept & { readonly id: string | undefined }, error: string, isLast: boolean): number | "park";
  /** Takes the entry out of everybody's way, for good: `done` once that is noted, or its shard gone. */
  park(entry: Kept, known: KnownOf, done: () => void): void;
  /** Of an entry that has its turn: whether it may be the one that the owner before died of. */
  isSuspect(dispatch: Pick<Dispatch, "entry" | "lane">): boolean;
  /** Of a parent entry; those have no lane, and are few. */
  isSuspectParent(shard: number, receivedAt: number): boolean;
  /**
   * Notes that a suspect is about to be attempted; resolves to what it goes on with, or to ms after which to ask again. Then `over`
   * must be called at its end.
   */
  note<T extends Notable>(entry: Kept, loaded: T): Promise<Noted<T> | number>;
}

interface Noted<T> {
  readonly loaded: T;
  readonly over: () => void;
  /** As `over`, of what goes back to its place untried: its note is void, or it would count at a death that it has no part in. */
  readonly undo: () => Promise<void>;
}

/** Of a shard an owner of which died. */
interface Suspected extends Suspicion {
  /** It was the last one, and no hand-over came in between. */
  readonly isHeir: boolean;
  /** Sequences that this owner has noted: however often it begins with them, that is one death at most. */
  readonly noted: Set<number>;
  readonly heads: LaneHeads;
  /** Heads, and what came with a note of an owner before: suspected whenever it has its turn. */
  readonly lasting: Set<number>;
}

export interface PoisonDeps {
  readonly pod: Pick<Pod, "states" | "log" | "clock" | "metrics">;
  owns(shard: number): boolean;
  leaseSeqOf(shard: number): number;
  /** Attempts that may be under way at a site at once, over all sources. */
  concurrencyOf(site: string): number;
}

export function createPoison({ pod, owns, leaseSeqOf, concurrencyOf }: PoisonDeps): Poison {
  const { states, log, clock, metrics } = pod;
  const parked = new Map<number, Map<number, ParkedEntry>>();
  const tries = new Map<string, number>();
  const suspected = new Map<number, Suspected>();
  /** Parked, and that is not written yet. */
  const unwritten = new Set<string>();
  let isOneAlone = false;

  const tell = (): void => {
    let count = 0;
    for (const entries of parked.values()) count += entries.size;
    metrics.parked.set(count);
  };
  const keep = (entry: ParkedEntry): void => {
    const entries = parked.get(entry.shard) ?? new Map<number, ParkedEntry>();
    parked.set(entry.shard, entries.set(entry.seq, entry));
    const { shard, seq, id, reason } = entry;
    log.error("entry parked", { shard, seq, id, reason });
    tell();
  };
  const reread = (shard: number): void => {
    parked.delete(shard);
    for (const key of tries.keys()) if (key.startsWith(`${shard}:`)) tries.delete(key);
    tell();
  };
  /** Without a record and without knowing what is open nothing is written: the next owner finds out for itself. */
  const recordOf = async (entry: Kept, known: KnownOf): Promise<StateRecord | undefined | "unavailable"> => {
    const { idHash, attempt, due } = entry;
    const last = known.reason;
    if (known.open !== undefined) return { attempt, due, open: known.open, idHash, last, parked: true };
    const read = await states.read(entry.shard, entry.seq);
    if (read.kind === "unavailable") return "unavailable";
    return read.kind === "state" ? { ...read.record, last, parked: true } : undefined;
  };
  const write = async (entry: Kept, known: KnownOf): Promise<"done" | "later"> => {
    const record = await recordOf(entry, known);
    if (record === undefined) return "done";
    if (record === "unavailable") return "later";
    const { shard, seq } = entry;
    const written = await states.write(shard, seq, { record, leaseSeq: leaseSeqOf(shard) });
    return written.kind === "unavailable" ? "later" : "done";
  };
  const persist = (entry: Kept, known: KnownOf, done: () => void): void => {
    const key = `${entry.shard}:${entry.seq}`;
    unwritten.add(key);
    void write(entry, known).then((result) => {
      if (result === "later" && owns(entry.shard)) {
        setTimeout(() => persist(entry, known, done), rewriteMs);
        return;
      }
      unwritten.delete(key);
      done();
    });
  };

  return {
    owned(shard, how, told) {
      reread(shard);
      // Nobody had it in between, so what is suspected has not had its turn.
      if (how === "resumed") return;
      suspected.delete(shard);
      const now = clock.now();
      const isHeir = how === "expired" || how === "witnessed";
      const suspicion = isHeir ? { takenAt: now, until: now + suspectMs, noted: [] } : told;
      // One that kills has perhaps not had its turn when the shard goes on in order.
      if (suspicion !== undefined)
        suspected.set(shard, {
          ...suspicion,
          isHeir,
          noted: new Set(suspicion.noted),
          heads: createLaneHeads(),
          lasting: new Set(),
        });
    },
    lost: reread,
    reread,
    suspicion: (shard) => suspected.get(shard),
    verdict(shard, seq, state) {
      if (state?.parked === true) return "parked";
      const { started = 0 } = state ?? {};
      const suspicion = suspected.get(shard);
      if (suspicion === undefined || started === 0) return "fine";
      suspicion.lasting.add(seq);
      // Who handed the shard over, or still has it, did not die.
      const deaths = suspicion.noted.has(seq) ? started - 1 : started;
      return suspicion.isHeir && deaths >= maxNoted ? "deadly" : "fine";
    },
    keep,
    release(shard, seq) {
      parked.get(shard)?.delete(seq);
      tries.delete(`${shard}:${seq}`);
      tell();
    },
    *list() {
      for (const entries of parked.values()) yield* entries.values();
    },
    sizeOf: (shard) => parked.get(shard)?.size ?? 0,
    has: (shard, seq) => parked.get(shard)?.has(seq) === true,
    isBeingParked: (shard, seq) => unwritten.has(`${shard}:${seq}`),
    failed({ shard, seq, id }, error, isLast) {
      const key = `${shard}:${seq}`;
      const count = (tries.get(key) ?? 0) + 1;
      log.error("entry failed", { shard, seq, id, tries: count, error });
      if (isLast || count >= maxTries) {
        tries.delete(key);
        return "park";
      }
      tries.set(key, count);
      return firstPauseMs * count;
    },
    park(entry, known, done) {
      const { shard, seq } = entry;
      if (!owns(shard)) return done();
      const reason = known.reason.slice(0, maxReason);
      keep({ shard, seq, id: known.envelope?.id ?? "", envelope: known.envelope, reason });
      return persist(entry, { ...known, reason }, done);
    },
    isSuspect(dispatch) {
      const { shard, seq, receivedAt } = dispatch.entry;
      const suspicion = suspected.get(shard);
      if (suspicion === undefined || receivedAt > suspicion.takenAt) return false;
      const { heads, lasting, until } = suspicion;
      if (lasting.has(seq)) return true;
      const isHead = heads.isAmong(dispatch, headsEach * concurrencyOf(dispatch.lane.site));
      // It may be postponed, and stands elsewhere then.
      if (isHead) lasting.add(seq);
      return isHead || clock.now() < until;
    },
    isSuspectParent(shard, receivedAt) {
      const suspicion = suspected.get(shard);
      return suspicion !== undefined && receivedAt <= suspicion.takenAt;
    },
    async note(entry, loaded) {
      const { shard, seq, idHash, attempt, due } = entry;
      const noted = suspected.get(shard)?.noted ?? new Set<number>();
      // Begun before and given up: its note still stands.
      const isNoted = noted.has(seq) && loaded.started > 0;
      const deaths = isNoted ? loaded.started - 1 : loaded.started;
      const isAlone = deaths >= aloneFrom;
      if (isAlone && isOneAlone) return alonePauseMs;
      if (isAlone) isOneAlone = true;
      const over = (): void => {
        if (isAlone) isOneAlone = false;
      };
      const { open, last, leaseSeq } = loaded;
      const writeDeaths = (count: number): ReturnType<typeof states.write> => {
        const record = { attempt, due, open, idHash, last, started: count };
        return states.write(shard, seq, { record, leaseSeq });
      };
      const undo = async (): Promise<void> => {
        over();
        const undone = await writeDeaths(deaths);
        // Else it still stands, as one of who lives.
        if (undone.kind === "written") noted.delete(seq);
      };
      if (isNoted) return { loaded, over, undo };
      const started = deaths + 1;
      const written = await writeDeaths(started);
      if (written.kind !== "written") {
        over();
        return rewriteMs;
      }
      noted.add(seq);
      return { loaded: { ...loaded, stateSeq: written.stateSeq, started }, over, undo };
    },
  };
}
