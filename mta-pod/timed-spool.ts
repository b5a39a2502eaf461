/**
 * Round trips to JetStream as a metric (`mailboat_spool_seconds`): one in 16 of each operation is timed, so that the hot
 * path pays next to nothing. Changes nothing else about the rooms it wraps.
 */
import type { Clock } from "./runtime/clock.ts";
import type { Entries } from "./spool/entries.ts";
import type { Publisher } from "./spool/publisher.ts";
import type { States } from "./spool/states.ts";

export type SpoolOp = "publish" | "fetch" | "delete" | "state";

export interface SpoolRooms {
  readonly publisher: Publisher;
  readonly entries: Entries;
  readonly states: States;
}

const sampleEvery = 16;

/** `observe` is told seconds. */
export function timedSpool(
  { publisher, entries, states }: SpoolRooms,
  clock: Clock,
  observe: (op: SpoolOp, seconds: number) => void,
): SpoolRooms {
  const turns = { publish: 0, fetch: 0, delete: 0, state: 0 };
  /** Undefined = this one is not timed. */
  const begin = (op: SpoolOp): (() => void) | undefined => {
    if (turns[op]++ % sampleEvery !== 0) return undefined;
    const startedAt = clock.monotonic();
    return () => observe(op, (clock.monotonic() - startedAt) / 1000);
  };
  return {
    publisher: {
      ...publisher,
      store(entry, done) {
        const end = begin("publish");
        if (end === undefined) return publisher.store(entry, done);
        return publisher.store(entry, (stored) => {
          end();
          done(stored);
        });
      },
    },
    entries: {
      ...entries,
      fetch(shard, seq) {
        const end = begin("fetch");
        const fetched = entries.fetch(shard, seq);
        return end === undefined ? fetched : fetched.finally(end);
      },
      remove(entry, done) {
        const end = begin("delete");
        if (end === undefined) return entries.remove(entry, done);
        const timed: typeof done = (removed) => {
          end();
          done(removed);
        };
        return entries.remove(entry, timed);
      },
    },
    states: {
      ...states,
      write(shard, seq, write) {
        const end = begin("state");
        const written = states.write(shard, seq, write);
        return end === undefined ? written : written.finally(end);
      },
    },
  };
}
