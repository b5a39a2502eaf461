/** Pods that are wrong on purpose, to see that the invariants find it. */
import { parentSite } from "#crds/wire/subject.ts";
import type { Outbound } from "#mta-pod/outbound.ts";
import type { Repeats } from "#mta-pod/repeats.ts";
import type { Scheduler } from "#mta-pod/schedule/types.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";
import type { States } from "#mta-pod/spool/states.ts";

/** What is wrong. */
export type Mutant =
  | "none"
  | "takes over too early"
  | "ignores its fence"
  | "ignores the former owner"
  | "tells its successor nothing"
  | "deletes before the reply"
  | "forgets what was settled"
  | "deletes without looking"
  | "deletes a parent before its children are stored"
  | "splits a parent again"
  | "leaves to its successor what is left of an attempt"
  | "counts no connection that is closing"
  | "goes by new slices at once"
  | "knows nothing of shared hosts"
  | "asks nobody for hosts of others"
  | "writes its dots whenever they are ready"
  | "forgets where mail was going";

/** Connections that are closing are none. */
export function countedClosed(outbound: Outbound): Outbound {
  return {
    ...outbound,
    keep: (key, connection, limit) => (outbound.keep(key, connection, limit) === "kept" ? "kept" : "closed"),
    ending(connection) {
      outbound.ending(connection);
      return "closed";
    },
  };
}

/** No rate holds back a final dot. */
export function withDotsAtOnce(scheduler: Scheduler): Scheduler {
  scheduler.finalDotMs = () => 0;
  return scheduler;
}

/** Says that it is stored what it has only sent. */
export function answeringAtOnce(publisher: Publisher): Publisher {
  const said: Stored = { kind: "stored", seq: 0, duplicate: true, bodyChunks: 0, subject: "" };
  return {
    ...publisher,
    store(entry, done) {
      publisher.store(entry, () => {});
      setImmediate(done, said);
    },
  };
}

/** Does not read what is noted of moves. */
export function withoutMoves(states: States): States {
  return {
    ...states,
    async read(shard, seq) {
      const read = await states.read(shard, seq);
      if (read.kind !== "state") return read;
      const { moving: _moving, ...record } = read.record;
      return { ...read, record };
    },
  };
}

/** What a pod makes of entries that come again. */
export function repeatsOf(mutant: Mutant, repeats: Repeats): Repeats {
  if (mutant === "forgets what was settled") return { isRepeat: () => false, drop: () => {} };
  if (mutant !== "splits a parent again") return repeats;
  return { ...repeats, isRepeat: (entry) => entry.site !== parentSite && repeats.isRepeat(entry) };
}
