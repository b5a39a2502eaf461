/**
 * CORRIDOR: an entry goes to the site, or the sites, where its recipients belong by now: publish → ack → delete (design.md §3, Moves). Several
 * parts are stored one after the other, the last one takes the old entry's place.
 */
import { shardOf } from "#crds/wire/subject.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
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

  return {
    move(
      dispatch: Dispatch,
      found: EntryInHand,
      { parts, ended }: { parts: readonly Part[]; ended(): void },
    ): void {
      const { entry, handle } = dispatch;
      const { attempt, due, shard, seq } = entry;
      const { moves, bodyChunks, isBodyShared } = found.envelope;
      const waits = Math.min(slowMoveMs.most, slowMoveMs.first * 2 ** (moves - quickMoves));
      const moved = { shard, seq, tenure: tenureOf(shard) };
      const changed = {
        moves: moves + 1,
        attempt,
        due: moves < quickMoves ? due : Math.max(due, clock.now() + waits),
        // Whoever is through first must not delete it from under the others.
        isBodyShared: isBodyShared || (parts.length > 1 && bodyChunks > 0),
      };
      const over = (isMoved: boolean): void => {
        if (isMoved) scheduler.settle(handle);
        else scheduler.defer(handle, clock.now() + againMs, attempt, clock.now());
        ended();
        if (!isMoved) wake();
      };
      const next = (index: number): void => {
        const { site, open } = parts[index] ?? { site: dispatch.lane.site, open: found.open };
        const from = { ...found, open, shard, seq };
        const to = {
          shard: shardOf(site, shards),
          changed: { ...changed, site },
          repeats: () => repeatsOf(found.envelope, moved),
        };
        if (index >= parts.length - 1) return moveEntry(pod, from, to, over);
        return copyEntry(pod, from, to, (isStored) => (isStored ? next(index + 1) : over(false)));
      };
      next(0);
    },
  };
}
