/**
 * CORRIDOR: an entry goes to the site where its recipients belong by now: note where to → publish → ack → delete (design.md §3, Moves). Where
 * they belong to several, all but the first part are stored as entries of their own: note → publish → ack → note who is left. What is noted
 * is finished, by whoever owns the shard then, also when the recipients belong somewhere else again: the new entry may be stored.
 */
import { shardOf } from "#crds/wire/subject.ts";
import { idHashOf, type Moving } from "#crds/wire/state-record.ts";
import type { Ended } from "./attempt-outcome.ts";
import type { Loaded, LoadedMoving } from "./load.ts";
import { copyEntry, moveEntry, removeMoved } from "./moves.ts";
import type { Pod } from "./pod.ts";
import type { Repeats } from "./spool/outbox.ts";
import type { Queued } from "./without-attempt.ts";

/** Recipients of it that belong together, by their indexes, and where. */
export interface Part {
  readonly site: string;
  readonly open: readonly number[];
}

export interface RehomingOptions {
  readonly shards: number;
  wake(): void;
  /** The next owner of the shard waits until we are through with it. */
  isAwaited(shard: number, seq: number): boolean;
  /** A number that changes whenever somebody else has had the shard meanwhile. */
  tenureOf(shard: number): number;
}

/** An entry that is being moved, or divided. */
interface Moved {
  readonly queued: Queued;
  readonly found: Loaded;
  /** Of its shard as the move began. */
  readonly tenure: number;
  /** Recipients that are left, and the state record that says so. */
  readonly open: readonly number[];
  readonly stateSeq: number;
  readonly ended: Ended;
}

const againMs = 15_000;
const noteAgainMs = 2000;
/** A shard that is lost may come back to us; by then somebody else has it. */
const noteTries = 30;
/** Moved so often it waits before it goes on: a site that changes back and forth must not keep mail on the move. Nobody but a site's owner sends there. */
const quickMoves = 3;
const slowMoveMs = { first: 15_000, most: 600_000 } as const;

export function createRehoming(pod: Pod, { shards, wake, isAwaited, tenureOf }: RehomingOptions) {
  const { scheduler, clock, ownership } = pod;

  /**
   * Whose shard is lost waits: nobody else need have had it when it comes back. Who has had it has the entry under way, or has sent a part of
   * it, or has done with it.
   */
  const repeatsOf = ({ queued, found, tenure }: Moved): Repeats => {
    const { shard, seq } = queued.entry;
    if (pod.settled.was(found.envelope) || tenureOf(shard) !== tenure) return "never";
    return ownership.mayProceed(shard) || isAwaited(shard, seq) ? "now" : "later";
  };
  /** From the fourth on it waits where it comes to. */
  const dueOf = ({ queued, found }: Moved): number => {
    const { moves } = found.envelope;
    const waits = Math.min(slowMoveMs.most, slowMoveMs.first * 2 ** (moves - quickMoves));
    const { due } = queued.entry;
    return moves < quickMoves ? due : Math.max(due, clock.now() + waits);
  };
  const copyOf = (of: Moved, { site, attempt, isBodyShared }: Omit<Moving, "open">) => ({
    shard: shardOf(site, shards),
    changed: { site, moves: of.found.envelope.moves + 1, attempt, due: dueOf(of), isBodyShared },
    repeats: () => repeatsOf(of),
  });
  const entryIn = ({ queued, found, open, stateSeq }: Moved) => {
    const { shard, seq } = queued.entry;
    const { envelope, body, subject, since } = found;
    return { shard, seq, envelope, body, subject, since, open, stateSeq };
  };
  const done = ({ queued, ended }: Moved): void => {
    scheduler.settle(queued.handle);
    ended();
  };
  /** Looked at again by then. Noted = its next attempt looks for the record, and has been one. */
  const over = ({ queued, ended }: Moved, ms: number, isNoted = true): void => {
    const { handle, entry } = queued;
    const { attempt } = entry;
    scheduler.defer(handle, clock.now() + ms, isNoted ? Math.max(1, attempt) : attempt, clock.now());
    ended(!isNoted);
    wake();
  };

  /** `then` with the record's sequence; else says whether it is still ours to go on without. */
  const note = (
    of: Moved,
    moving: Moving | undefined,
    then: (stateSeq: number | "unknown" | "no") => void,
  ) => {
    const { queued, found, open } = of;
    const { shard, seq, due, attempt } = queued.entry;
    const { envelope, last, leaseSeq } = found;
    const about = { attempt: Math.max(1, attempt), due, open, idHash: idHashOf(envelope.id), last };
    const record = moving === undefined ? about : { ...about, moving };
    void pod.states.write(shard, seq, { record, leaseSeq }).then((written) => {
      if (written.kind === "written") then(written.stateSeq);
      else then(written.kind === "unavailable" ? "unknown" : "no");
    });
  };

  /** Stores what is noted to be moving, then what comes after it. */
  const carry = (of: Moved, moving: Moving, others: readonly Moving[]): void => {
    if (repeatsOf(of) !== "now") return over(of, againMs);
    const from = { ...entryIn(of), open: moving.open };
    return copyEntry(pod, from, copyOf(of, moving), (isStored, envelope) => {
      if (!isStored) return putOff(of, moving, others);
      const open = of.open.filter((index) => !moving.open.includes(index));
      if (open.length === 0) return removeMoved(pod, from, { as: envelope, done: () => done(of) });
      return carryRest({ ...of, open }, others);
    });
  };
  /** The shard was read again meanwhile, perhaps before it was noted: the index would not look for the record. */
  const isReread = ({ queued: { handle, entry } }: Moved): boolean =>
    scheduler.entryOf(handle) === undefined && ownership.mayProceed(entry.shard);
  const putOff = (of: Moved, moving: Moving, others: readonly Moving[]): void => {
    if (isReread(of)) setTimeout(() => carry(of, moving, others), againMs);
    else over(of, againMs);
  };
  const carryRest = (of: Moved, others: readonly Moving[], tries = noteTries): void => {
    const [next, ...later] = others;
    note(of, next, (noted) => {
      if (typeof noted === "number") {
        const rest = { ...of, stateSeq: noted };
        if (next !== undefined) return carry(rest, next, later);
        return isReread(of) ? carryRest(rest, [{ ...anew(of), open: of.open }]) : over(rest, 0);
      }
      // The lease is another one, and what reads the shard anew would not look for a record: as with a deferral the entry itself says who is left.
      const may = repeatsOf(of);
      if (may === "never" || tries === 0) return of.ended();
      if (noted === "no" && may === "now") return storeRest(of);
      return void setTimeout(() => carryRest(of, others, tries - 1), noteAgainMs);
    });
  };
  const anew = ({ queued: { lane, entry } }: Moved): Omit<Moving, "open"> => ({
    site: lane.site,
    attempt: entry.attempt,
    isBodyShared: true,
  });
  const storeRest = (of: Moved): void =>
    moveEntry(pod, entryIn(of), copyOf(of, anew(of)), (isMoved) => (isMoved ? done(of) : over(of, againMs)));

  const begin = (
    queued: Queued,
    found: Loaded,
    { parts, isBodyShared, ended }: { parts: readonly Part[]; isBodyShared: boolean; ended: Ended },
  ): void => {
    const { shard, attempt } = queued.entry;
    const { open, stateSeq } = found;
    const of = { queued, found, tenure: tenureOf(shard), open, stateSeq, ended };
    const [first, ...others] = parts.map((part): Moving => ({ ...part, attempt, isBodyShared }));
    if (first === undefined || repeatsOf(of) !== "now") return over(of, againMs, false);
    return note(of, first, (noted) => {
      // Nothing is stored yet: what is not noted, its owner does another time.
      if (typeof noted === "number") carry({ ...of, stateSeq: noted }, first, others);
      else over(of, againMs);
    });
  };

  return {
    /** All of it goes there. */
    move(queued: Queued, found: Loaded, { site, ended }: { site: string; ended: Ended }): void {
      const { isBodyShared } = found.envelope;
      begin(queued, found, { parts: [{ site, open: found.open }], isBodyShared, ended });
    },
    /** The parts but the first become entries of their own; what is stored is noted, so that it is not stored, or sent, once more. */
    divide(queued: Queued, found: Loaded, { parts, ended }: { parts: readonly Part[]; ended: Ended }): void {
      const { bodyChunks, isBodyShared } = found.envelope;
      const { site } = queued.lane;
      // Whoever is through first must not delete it from under the others: said first, then divided.
      const isFirst = bodyChunks > 0 && !isBodyShared;
      const to = isFirst ? [{ site, open: found.open }] : parts.slice(1);
      begin(queued, found, { parts: to, isBodyShared: true, ended });
    },
    /** What was begun with it, here or by an owner before, comes to its end. */
    finish(queued: Queued, found: LoadedMoving, ended: Ended): void {
      const { open, stateSeq, moving } = found;
      const of = { queued, found, tenure: tenureOf(queued.entry.shard), open, stateSeq, ended };
      carry(of, moving, []);
    },
  };
}
