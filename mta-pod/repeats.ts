/**
 * CORRIDOR: entries that are stored although they were settled: a publish that was repeated, a delete that did not come to pass, or
 * one that the server forgot (`spool/settled-log.ts`). They are deleted, and not sent. Never fails.
 */
import type { Envelope } from "#crds/wire/envelope.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { Pod } from "./pod.ts";

export interface Repeats {
  isRepeat(envelope: Envelope): boolean;
  /** `done` once it is deleted. */
  drop(at: RepeatAt, envelope: Envelope, done: () => void): void;
}

interface RepeatAt {
  readonly shard: number;
  readonly seq: number;
  /** Under which it is stored; undefined when that is not known. */
  readonly subject: string | undefined;
}

export function createRepeats({ entries, log, settled }: Pick<Pod, "entries" | "log" | "settled">): Repeats {
  return {
    isRepeat: settled.was,
    drop(at, entry, done) {
      const { id, site, bodyChunks, isBodyShared } = entry;
      log.info("repeat dropped", { id, shard: at.shard, seq: at.seq });
      entries.remove({ ...at, entry }, () => {
        // A parent's body is its children's.
        if (bodyChunks > 0 && !isBodyShared && site !== parentSite) void entries.removeBody(id);
        done();
      });
    },
  };
}
