/**
 * CORRIDOR: an entry goes to the site where its recipients belong by now: publish → ack → delete (design.md §3, Moves). Where they belong to
 * several, all but the first part are stored as entries of their own: publish → ack → note who is left.
 */
import { shardOf } from "#crds/wire/subject.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Ended } from "./attempt-outcome.ts";
import type { Loaded } from "./load.ts";
import { copyEntry, moveEntry } from "./moves.ts";
import type { Pod } from "./pod.ts";
import type { Dispatch, Entry } from "./schedule/types.ts";
import type { Repeats } from "./spool/outbox.ts";

/** Recipients that are still open, and the state record (0 = none). */
export interface EntryInHand {
  readonly envelope: Envelope;
  readonly body: Buffer;
  readonly open: readonly number[];
  readonly stateSeq: number;
  readonly subject: string | undefined;
  /** When it was read or stored, monotonic ms. */
  readonly since?: number;
}

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

/** An entry that is being moved. */
interface Moved extends Pick<Entry, "shard" | "seq"> {
  /** Of its shard as the move began. */
  readonly tenure: number;
}

const againMs = 15_000;
const noteAgainMs = 2000;
/** A shard that is lost may come back to us; by then somebody else has it. */
const noteTries = 30;
/** Moved so often it waits before it goes on: a site that changes back and forth must not keep mail on the move. Nobody but a site's owner sends there. */
const quickMoves = 3;
const slowMoveMs = { first: 15_000, most: 600_000 } as const;

export function createRehoming(pod: Pod, { shards, wake, isAwaited, tenureOf }: RehomingOptions) {
  const { scheduler, clock } = pod;

  /**
   * Whose shard is lost waits: nobody else need have had it when it comes back. Who has had it has the entry under way, or has sent a part of
   * it, or has done with it.
   */
  const repeatsOf = (entry: Envelope, { shard, seq, tenure }: Moved): Repeats => {
    if (pod.settled.was(entry) || tenureOf(shard) !== tenure) return "never";
    return pod.ownership.mayProceed(shard) || isAwaited(shard, seq) ? "now" : "later";
  };

  const move = (
    dispatch: Dispatch,
    { found, site, isBodyShared }: { found: EntryInHand; site: string; isBodyShared: boolean },
    ended: () => void,
  ): void => {
    const { entry, handle } = dispatch;
    const { attempt, due, shard, seq } = entry;
    const { moves } = found.envelope;
    const waits = Math.min(slowMoveMs.most, slowMoveMs.first * 2 ** (moves - quickMoves));
    const moved = { shard, seq, tenure: tenureOf(shard) };
    const changed = {
      site,
      moves: moves + 1,
      attempt,
      due: moves < quickMoves ? due : Math.max(due, clock.now() + waits),
      isBodyShared,
    };
    const to = { shard: shardOf(site, shards), changed, repeats: () => repeatsOf(found.envelope, moved) };
    moveEntry(pod, { ...found, shard, seq }, to, (isMoved) => {
      if (isMoved) scheduler.settle(handle);
      else scheduler.defer(handle, clock.now() + againMs, attempt, clock.now());
      ended();
      if (!isMoved) wake();
    });
  };

  return {
    move(dispatch: Dispatch, found: EntryInHand, { site, ended }: { site: string; ended(): void }): void {
      move(dispatch, { found, site, isBodyShared: found.envelope.isBodyShared }, ended);
    },
    /** The parts but the first become entries of their own; what is stored is noted, so that it is not stored, or sent, once more. */
    divide(
      dispatch: Dispatch,
      found: Loaded,
      { parts, ended }: { parts: readonly Part[]; ended: Ended },
    ): void {
      const { entry, handle, lane } = dispatch;
      const { shard, seq, due } = entry;
      const { envelope, last, leaseSeq } = found;
      // Whoever is through first must not delete it from under the others: said first, then divided.
      if (envelope.bodyChunks > 0 && !envelope.isBodyShared)
        return move(dispatch, { found, site: lane.site, isBodyShared: true }, ended);
      const moved = { shard, seq, tenure: tenureOf(shard) };
      const attempt = Math.max(1, entry.attempt);
      let { open } = found;
      const over = (ms: number): void => {
        const isUntried = open === found.open;
        scheduler.defer(handle, clock.now() + ms, isUntried ? entry.attempt : attempt, clock.now());
        ended(isUntried);
        wake();
      };
      const note = (then: () => void, tries = noteTries): void => {
        const record = { attempt, due, open, idHash: idHashOf(envelope.id), last };
        void pod.states.write(shard, seq, { record, leaseSeq }).then(({ kind }) => {
          if (kind === "written") return then();
          // The lease is another one, and what reads the shard anew would not look for a record: as with a deferral the entry itself says who is left.
          const may = repeatsOf(envelope, moved);
          if (may === "never" || tries === 0) return ended();
          if (kind !== "unavailable" && may === "now")
            return move(dispatch, { found: { ...found, open }, site: lane.site, isBodyShared: true }, ended);
          setTimeout(() => note(then, tries - 1), noteAgainMs);
          return undefined;
        });
      };
      const next = ([part, ...others]: readonly Part[]): void => {
        if (part === undefined) return over(0);
        if (repeatsOf(envelope, moved) !== "now") return over(againMs);
        const changed = {
          site: part.site,
          moves: envelope.moves + 1,
          attempt: entry.attempt,
          due,
          isBodyShared: true,
        };
        const to = { shard: shardOf(part.site, shards), changed, repeats: () => repeatsOf(envelope, moved) };
        return copyEntry(pod, { ...found, open: part.open, shard, seq }, to, (isStored) => {
          if (!isStored) return over(againMs);
          open = open.filter((index) => !part.open.includes(index));
          return note(() => next(others));
        });
      };
      next(parts.slice(1));
    },
  };
}
