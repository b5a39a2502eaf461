/**
 * Small shared states in the pool's bucket, changed by compare-and-set from any pod. Never throws. A change whose answer is
 * lost counts as made and is reported as unknown: what it granted is not used, rather than granted twice.
 */
import { LRUCache } from "lru-cache";
import { openBucket } from "./bucket.ts";
import { pause, type Spool } from "./connection.ts";

interface Change<Result> {
  /** The new text; undefined = nothing to write. */
  readonly text: string | undefined;
  readonly result: Result;
}

export interface Cells {
  /**
   * `change` is given the text stored under `key`, undefined when there is none, and may be asked several times. Resolves
   * to its result once that is stored, to undefined when it is not known to be.
   */
  update<Result>(
    key: string,
    seconds: number,
    change: (text: string | undefined) => Change<Result>,
  ): Promise<Result | undefined>;
}

interface Known {
  readonly revision: number;
  readonly text: string | undefined;
}

const maxKnown = 10_000;
const attempts = 12;
const retryMs = 5;

export function createCells(spool: Spool): Cells {
  const bucket = openBucket(spool);
  /** What this pod wrote last: while no other pod writes, a change costs one round trip instead of two. */
  const known = new LRUCache<string, Known>({ max: maxKnown });

  const read = async (key: string): Promise<Known | undefined> => {
    const stored = await bucket.read(key);
    if (stored.kind === "failed") return undefined;
    return { revision: stored.revision, text: stored.kind === "found" ? stored.text : undefined };
  };

  return {
    async update(key, seconds, change) {
      for (let attempt = 0; attempt < attempts && !spool.closing.aborted; attempt++) {
        const current = known.get(key) ?? (await read(key));
        if (current === undefined) return undefined;
        const { text, result } = change(current.text);
        if (text === undefined && known.has(key)) {
          // What is remembered may be old: a no is only given on what the leader says.
          known.delete(key);
          continue;
        }
        if (text === undefined) return result;
        const written = await bucket.writeFor(key, text, { expected: current.revision, seconds });
        if (written.kind === "written") {
          known.set(key, { revision: written.seq, text });
          return result;
        }
        known.delete(key);
        if (written.kind !== "refused") return undefined;
        // Pods that contend would otherwise keep step with each other.
        await pause(spool.timers, retryMs * Math.random() * (attempt + 1), spool.closing);
      }
      return undefined;
    },
  };
}
