/**
 * CORRIDOR: how late the store is with deletes: what is delivered and not deleted comes again if this pod, or its way to the store, does not
 * last. So transactions begin only while deletes are answered about as fast as they lately were; a pod that is cut off stops by that
 * within a tenth of a second or two, however many it sends a second. Never fails.
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

interface Shard {
  /** Of deletes that are not answered, when each was wanted, in that order. */
  readonly open: Set<{ readonly since: number }>;
  /** Smoothed, ms; the first ones are guesses. */
  time: number;
  deviation: number;
}

export function watchDeletes(entries: Entries, clock: Pick<Clock, "monotonic">): WatchedDeletes {
  const shards = new Map<number, Shard>();
  const shardOf = (shard: number): Shard => {
    let found = shards.get(shard);
    if (found === undefined) shards.set(shard, (found = { open: new Set(), time: least, deviation: least }));
    return found;
  };
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
        const ms = clock.monotonic() - since;
        const bound = Math.min(most, Math.max(least, of.time + deviations * of.deviation));
        return ms <= bound ? 0 : Math.min(holdMs.most, Math.max(holdMs.least, ms / 4));
      }
      return 0;
    },
  };
}
