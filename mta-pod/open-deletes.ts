/**
 * CORRIDOR: how late the store is with deletes: what is delivered and not deleted comes again if this pod, or its way to the store, does not
 * last. So transactions begin only while deletes are answered about as fast as they lately were; a pod that is cut off stops by that
 * within a tenth of a second or two, however many it sends a second. A delete that those after it overtake says nothing of the way: the store
 * refuses that one, and the shard goes on. Never fails.
 */
import type { Clock } from "./runtime/clock.ts";
import type { Entries } from "./spool/entries.ts";

export interface WatchedDeletes {
  /** The same entries; removals are watched. */
  readonly entries: Entries;
  /** How long nothing should be begun for the shard, ms; 0 = its deletes are answered in time. */
  stallMs(shard: number): number;
}

/**
 * As TCP takes a segment for lost (RFC 6298): later than the usual time by four times its usual deviation. What is held back for a shard
 * by mistake, as after a pause of our own, goes on a moment later.
 */
const share = { time: 1 / 8, deviation: 1 / 4 };
const deviations = 4;
/** Timers, gathering and a busy server are good for that much; above `most` a server is away, whatever was usual. */
const least = 100;
const most = 1000;
const holdMs = { least: 20, most: 250 };
/** A pod that is cut off is past its fence by then: what is still not answered may be refused, so one more is begun, and its own delete tells. */
const probeMs = 30_000;

interface Shard {
  /** Of deletes that are not answered, when each was wanted, in that order. */
  readonly open: Set<{ readonly since: number }>;
  /** Smoothed, ms; the first ones are guesses. */
  time: number;
  deviation: number;
  /** When one was begun all the same. */
  probedAt: number;
}

export function watchDeletes(entries: Entries, clock: Pick<Clock, "monotonic">): WatchedDeletes {
  const shards = new Map<number, Shard>();
  const shardOf = (shard: number): Shard => {
    let found = shards.get(shard);
    if (found === undefined) {
      found = { open: new Set(), time: least, deviation: least, probedAt: 0 };
      shards.set(shard, found);
    }
    return found;
  };
  const boundOf = (of: Shard): number => Math.min(most, Math.max(least, of.time + deviations * of.deviation));
  const learn = (of: Shard, ms: number): void => {
    of.deviation += share.deviation * (Math.abs(ms - of.time) - of.deviation);
    of.time += share.time * (ms - of.time);
  };
  const remove: Entries["remove"] = (entry, done) => {
    const of = shardOf(entry.shard);
    const wanted = { since: clock.monotonic() };
    of.open.add(wanted);
    entries.remove(entry, (removed) => {
      of.open.delete(wanted);
      // Deletes are sent side by side: only who is left behind by more than they usually take is a straggler.
      const behind = wanted.since - boundOf(of);
      for (const other of of.open)
        if (other.since < behind) of.open.delete(other);
        else break;
      learn(of, Math.min(most, clock.monotonic() - wanted.since));
      done(removed);
    });
  };
  return {
    entries: { ...entries, remove },
    stallMs(shard) {
      const of = shards.get(shard);
      if (of === undefined) return 0;
      for (const { since } of of.open) {
        const now = clock.monotonic();
        const ms = now - since;
        if (ms <= boundOf(of)) return 0;
        if (now - Math.max(since, of.probedAt) >= probeMs) {
          of.probedAt = now;
          return 0;
        }
        return Math.min(holdMs.most, Math.max(holdMs.least, ms / 4));
      }
      return 0;
    },
  };
}
