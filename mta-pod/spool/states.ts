/**
 * Writes state records of deferred entries, fenced by the shard's lease: the server refuses a former owner's. A write
 * replaces the entry's last one in the same step, so repeating it is harmless. Never throws.
 */
import { decodeState, encodeState, type StateRecord } from "#crds/wire/state-record.ts";
import type { Spool } from "./connection.ts";
import { createDeletions, type Removed } from "./deletions.ts";
import { direct, fromLeader } from "./direct-get.ts";
import { createDoubt } from "./doubt.ts";
import { createOutbox, type Put } from "./outbox.ts";

type Written =
  | { readonly kind: "written"; readonly stateSeq: number }
  /** Somebody else has the shard: drop it. */
  | { readonly kind: "fenced" }
  /** Not acknowledged, or no room: keep it in memory, do not retry the mail early, write again. */
  | { readonly kind: "unavailable"; readonly text: string };

interface StateWrite {
  readonly record: StateRecord;
  /** Sequence of the shard's lease message that this owner wrote. */
  readonly leaseSeq: number;
}

type StateRead =
  | { readonly kind: "state"; readonly stateSeq: number; readonly record: StateRecord }
  /** None stored, or one that this release cannot read: the entry is as new. */
  | { readonly kind: "none" }
  | { readonly kind: "unavailable"; readonly text: string };

interface Removal {
  /** The entry's sequence: what has taken the record's place, another one's record or an entry, is spared. */
  readonly of: number;
  /** When the record was read or written, as for entries. */
  readonly since?: number | undefined;
  readonly done?: (removed: Removed) => void;
}

export interface States {
  /** The record of the entry `seq`; the caller compares its idHash with the entry's. */
  read(shard: number, seq: number): Promise<StateRead>;
  /** `seq` is the entry's. */
  write(shard: number, seq: number, write: StateWrite): Promise<Written>;
  /** By the record's own sequence, after its entry is gone. Repeated until acknowledged or the spool closes. */
  remove(shard: number, stateSeq: number, how: Removal): void;
  close(): void;
}

/** The caller writes again anyway; it should not hold its shard's hand-over for longer. */
const giveUpMs = 10_000;

/** `fenced` is told of each write that the server refused as another owner's. */
export function createStates(
  spool: Spool,
  fenced: (shard: number, leaseSeq: number) => void = () => {},
): States {
  const outbox = createOutbox(spool);
  const deletions = createDeletions(spool);
  const doubt = createDoubt(spool);
  const { names } = spool;
  /** A stream with copies takes one write at a time that asks for the same subject's sequence, and refuses those beside it. */
  const isSerial = spool.options.replicas > 1;
  const lines = new Map<number, (() => void)[]>();

  const isState = async (
    shard: number,
    stateSeq: number,
    of: number,
  ): Promise<"same" | "other" | "unknown"> => {
    const read = await direct(spool, names.shardStream(shard), { seq: stateSeq });
    if (read.kind === "unavailable") return "unknown";
    if (read.kind !== "message") return "other";
    return read.subject === names.stateSubject(shard, of) ? "same" : "other";
  };

  const put = (
    shard: number,
    seq: number,
    { record, leaseSeq }: StateWrite,
    done: (written: Written) => void,
  ): void =>
    outbox.put(
      {
        subject: names.stateSubject(shard, seq),
        headers: [
          ["Nats-Rollup", "sub"],
          ["Nats-Expected-Last-Subject-Sequence", String(leaseSeq)],
          ["Nats-Expected-Last-Subject-Sequence-Subject", names.leaseSubject(shard)],
        ],
        payload: encodeState(record),
        giveUpMs,
        isUrgent: isSerial,
      },
      (answer) => {
        next(shard);
        if (answer.kind === "fenced") fenced(shard, leaseSeq);
        done(writtenBy(answer));
      },
    );

  const next = (shard: number): void => {
    const line = lines.get(shard);
    line?.shift();
    line?.[0]?.();
  };

  return {
    async read(shard, seq) {
      // Of the leader: a lagging replica would answer with an attempt less, or with recipients that are done.
      const found = await fromLeader(spool, names.shardStream(shard), {
        last_by_subj: names.stateSubject(shard, seq),
      });
      if (found.kind === "unavailable") return found;
      if (found.kind === "gone") return { kind: "none" };
      const state = decodeState(found.data.toString("utf8"));
      return state.ok ? { kind: "state", stateSeq: found.seq, record: state.value } : { kind: "none" };
    },
    write: (shard, seq, what) =>
      new Promise((resolve) => {
        const write = (): void => put(shard, seq, what, resolve);
        if (!isSerial) return write();
        const line = lines.get(shard) ?? [];
        lines.set(shard, line);
        // The first of the line is under way.
        if (line.push(write) === 1) write();
        return undefined;
      }),
    remove(shard, stateSeq, { of, since, done = () => {} }) {
      const verify = (): Promise<"same" | "other" | "unknown"> => isState(shard, stateSeq, of);
      const isDoubtful = doubt.isDoubtful(since);
      deletions.remove({ stream: names.shardStream(shard), seq: stateSeq, verify, isDoubtful }, done);
    },
    close() {
      doubt.close();
      outbox.close();
      deletions.close();
    },
  };
}

function writtenBy(put: Put): Written {
  switch (put.kind) {
    case "stored":
      return { kind: "written", stateSeq: put.seq };
    case "fenced":
      return { kind: "fenced" };
    case "full":
    case "unavailable":
      return { kind: "unavailable", text: put.text };
    default:
      return put satisfies never;
  }
}
