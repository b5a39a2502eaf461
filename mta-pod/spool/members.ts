/** Which pods of the pool are alive, by their heartbeats and our own monotonic clock. Pure data; never fails. */
import type { Identity, MemberRecord } from "./lease-record.ts";

export interface Member extends Identity {
  readonly startedAt: number;
  /** "joining" and "leaving" answer questions but should not be given shards. */
  readonly state: "joining" | "live" | "leaving";
  readonly payload: Readonly<Record<string, unknown>>;
  readonly isSelf: boolean;
}

export interface MemberTable {
  /** A member key as the watch shows it; undefined = deleted, expired or unreadable. */
  observe(key: string, revision: number, { record, mono, isNews }: Observed): void;
  /** The others that are alive. */
  others(mono: number): Member[];
  /** The others that are not known to have ended: also those of whom it is still open whether they live, and those that fell silent up to `silentMs` ago. */
  perhapsAlive(mono: number, silentMs?: number): (Identity & Pick<Member, "payload">)[];
  /** Nobody is there of whom it is still open whether it lives. */
  isComplete(): boolean;
  /** It said so itself, a witness did, or its pod has been started again. False = not known. */
  isDead(identity: Identity): boolean;
  /** What it told with its last heartbeat, while that is still kept; of our own pod, also what the process before this one told. */
  lastPayload(identity: Identity): Readonly<Record<string, unknown>> | undefined;
}

interface Observed {
  readonly record: MemberRecord | undefined;
  readonly mono: number;
  /** Written while we watched, so its pod lives; what was there before we came may be of the dead. */
  readonly isNews: boolean;
}

interface Entry {
  readonly record: MemberRecord;
  readonly revision: number;
  readonly changedAt: number;
  readonly isProven: boolean;
}

export function createMemberTable(self: Identity, ttlMs: number): MemberTable {
  const entries = new Map<string, Entry>();
  let before: MemberRecord | undefined;
  const recordOf = (identity: Identity): MemberRecord | undefined => {
    for (const { record } of entries.values()) if (record.pod === identity.pod) return record;
    return undefined;
  };
  const isOver = ({ record, changedAt, isProven }: Entry, mono: number): boolean =>
    record.state === "gone" || (isProven && mono - changedAt >= ttlMs);
  return {
    observe(key, revision, { record, mono, isNews }) {
      if (record === undefined || record.pod === self.pod) {
        if (record !== undefined && record.incarnation !== self.incarnation) before = record;
        entries.delete(key);
        return;
      }
      const known = entries.get(key);
      if (known !== undefined && revision <= known.revision) return;
      entries.set(key, { record, revision, changedAt: mono, isProven: isNews || known !== undefined });
    },
    isComplete: () =>
      [...entries.values()].every(({ record, isProven }) => isProven || record.state === "gone"),
    others(mono) {
      const members: Member[] = [];
      for (const entry of entries.values()) {
        const { pod, incarnation, startedAt, state, payload } = entry.record;
        if (state === "gone" || !entry.isProven || isOver(entry, mono)) continue;
        members.push({ pod, incarnation, startedAt, state, payload, isSelf: false });
      }
      return members;
    },
    perhapsAlive: (mono, silentMs = 0) =>
      [...entries.values()]
        .filter((entry) => !isOver(entry, mono - silentMs))
        .map(({ record: { pod, incarnation, payload } }) => ({ pod, incarnation, payload })),
    isDead(identity) {
      if (identity.pod === self.pod) return identity.incarnation !== self.incarnation;
      const record = recordOf(identity);
      return record !== undefined && (record.state === "gone" || record.incarnation !== identity.incarnation);
    },
    lastPayload(identity) {
      const record = identity.pod === self.pod ? before : recordOf(identity);
      return record?.incarnation === identity.incarnation ? record.payload : undefined;
    },
  };
}
