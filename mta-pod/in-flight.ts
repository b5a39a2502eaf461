/**
 * What is under way in this pod, by shard and by site. Bounded, and shared between sites by what is left (the dynamic thresholds of
 * Choudhury and Hahne, 1998): a site that answers nothing has no more than a part of it, so that others find room. Pure.
 */
import type { Entry } from "./schedule/types.ts";

/** Attempts under way in one pod: bounds bodies in memory, sockets and calls to JetStream together. */
export interface InFlightBounds {
  readonly entries: number;
  readonly bytes: number;
}

export interface InFlight {
  hasRoom(): boolean;
  /** Whether another of this site may begin; the only one of its site may whenever there is room. */
  hasRoomFor(site: string, bytes: number): boolean;
  /** The answer ends it, once. */
  begin(entry: Entry, site: string): () => void;
  has(entry: Pick<Entry, "shard" | "seq">): boolean;
  of(shard: number): ReadonlySet<number>;
  count(): number;
}

interface Held {
  entries: number;
  bytes: number;
}

const none: ReadonlySet<number> = new Set();
/** What a site may have, as a share of what is then left for all others. A fifth of all is 1,000 connections; of bytes it is half. */
const shares = { entries: 1 / 4, bytes: 1 } as const;

export function createInFlight(bounds: InFlightBounds): InFlight {
  const shards = new Map<number, Set<number>>();
  const sites = new Map<string, Held>();
  const all: Held = { entries: 0, bytes: 0 };

  const add = (held: Held, entries: number, bytes: number): void => {
    held.entries += entries;
    held.bytes += bytes;
  };

  return {
    hasRoom: () => all.entries < bounds.entries && all.bytes < bounds.bytes,
    hasRoomFor(site, bytes) {
      const own = sites.get(site);
      if (own === undefined) return true;
      const entriesLeft = bounds.entries - all.entries - 1;
      const bytesLeft = bounds.bytes - all.bytes - bytes;
      return own.entries + 1 <= shares.entries * entriesLeft && own.bytes + bytes <= shares.bytes * bytesLeft;
    },
    begin({ shard, seq, size }, site) {
      const own = sites.get(site) ?? { entries: 0, bytes: 0 };
      sites.set(site, own);
      const seqs = shards.get(shard) ?? new Set();
      shards.set(shard, seqs.add(seq));
      add(all, 1, size);
      add(own, 1, size);
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        add(all, -1, -size);
        add(own, -1, -size);
        if (own.entries === 0) sites.delete(site);
        seqs.delete(seq);
      };
    },
    has: ({ shard, seq }) => shards.get(shard)?.has(seq) === true,
    of: (shard) => shards.get(shard) ?? none,
    count: () => all.entries,
  };
}
