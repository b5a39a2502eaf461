/** This pod's own member key: written every beat by compare-and-set. Never throws; a beat that fails is followed by the next. */
import { hashToken } from "#crds/values/hash.ts";
import type { Log } from "#mta-pod/runtime/log.ts";
import { type Bucket, memberKey } from "./bucket.ts";
import {
  decodeMember,
  encodeMember,
  type Identity,
  isSame,
  type MemberRecord,
  type MemberState,
} from "./lease-record.ts";

export interface HeartbeatOptions {
  readonly bucket: Bucket;
  readonly self: Identity;
  readonly startedAt: number;
  readonly log: Log;
}

export interface Heartbeat {
  readonly startedAt: number;
  /** Resolves when the beat is written or has failed. */
  beat(state: MemberState, payload: Readonly<Record<string, unknown>>): Promise<boolean>;
}

/** By then the server removes the key of a pod that nobody mourns; well above the time it counts as alive. */
export const memberSeconds = 60;
const maxPayloadBytes = 64 * 1024;
/** What is left out of a larger one: who takes over then counts on limits alone. What else is told is small, and others wait for it. */
const expendable = "open";

export function createHeartbeat({ bucket, self, startedAt, log }: HeartbeatOptions): Heartbeat {
  const key = memberKey(hashToken(self.pod));
  let revision = 0;
  let beats = 0;
  let queue: Promise<boolean> = Promise.resolve(true);

  const write = async (record: MemberRecord): Promise<boolean> => {
    // Compared, so that a beat still under way when this pod was declared dead cannot revive it.
    for (let attempt = 0; attempt < 3; attempt++) {
      const text = encodeMember(record);
      const written = await bucket.writeFor(key, text, { expected: revision, seconds: memberSeconds });
      if (written.kind === "written") {
        revision = written.seq;
        return true;
      }
      if (written.kind !== "refused") return false;
      const read = await bucket.read(key);
      if (read.kind === "failed") return false;
      revision = read.revision;
      if (read.kind === "found") warnOfStranger(decodeMember(read.text));
    }
    return false;
  };

  const warnOfStranger = (record: MemberRecord | undefined): void => {
    if (record === undefined) return;
    if (!isSame(record, self))
      log.info("member replaced", { pod: self.pod, incarnation: record.incarnation });
    else if (record.state === "gone") log.error("declared dead while alive", { pod: self.pod });
  };

  return {
    startedAt,
    beat(state, payload) {
      const bytes = Buffer.byteLength(JSON.stringify(payload));
      const fits = bytes <= maxPayloadBytes;
      if (!fits) log.error("heartbeat too large", { bytes, limit: maxPayloadBytes, leftOut: expendable });
      const told = fits ? payload : { ...payload, [expendable]: undefined };
      // One at a time: two would compare with the same revision.
      queue = queue.then(() => write({ ...self, startedAt, beats: ++beats, state, payload: told }));
      return queue;
    },
  };
}
