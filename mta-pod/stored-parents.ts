/** CORRIDOR: a parent entry as it is stored, with what its state record says of it, and the note of what is left of it. Never rejects. */
import { formatIssue } from "#crds/values/issue.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { Damaged, Loaded } from "./load.ts";
import type { Pod } from "./pod.ts";

/** A parent in hand. */
export interface Found extends Omit<Loaded, "subject"> {
  readonly subject: string;
}

/** A parent that is not split meanwhile. */
export interface Taken {
  readonly loaded: Found;
  /** Some of its children may be stored since it was asked for. */
  readonly wasBegun: boolean;
  /** Recipients whose children are not stored, by index, in parts that have to stay together: others may be named as they were. */
  readonly parts: readonly (readonly number[])[];
  /** It is split, but for those of its parts that somebody has settled; when none is left it goes. */
  putBack(settled: readonly (readonly number[])[]): Promise<void>;
}

export interface At {
  readonly shard: number;
  readonly seq: number;
}

export function createStoredParents(
  { entries, states }: Pick<Pod, "entries" | "states">,
  leaseSeqOf: (shard: number) => number,
) {
  return {
    /** "gone" also when another entry is stored there: a server that lost its end uses sequences again, and that one is not for us. */
    async read({ shard, seq }: At): Promise<Found | Damaged | "gone" | "unavailable"> {
      const fetched = await entries.fetch(shard, seq);
      if (fetched.kind === "gone" || fetched.kind === "unavailable") return fetched.kind;
      if (fetched.kind === "damaged")
        return { damaged: fetched.issues.map(formatIssue).join("; "), envelope: fetched.envelope };
      const { envelope, body, subject } = fetched;
      if (envelope.site !== parentSite) return "gone";
      const state = await states.read(shard, seq);
      if (state.kind === "unavailable") return "unavailable";
      const isIts = state.kind === "state" && state.record.idHash === idHashOf(envelope.id);
      const known = isIts ? state : undefined;
      return {
        envelope,
        body,
        subject,
        open: known?.record.open ?? envelope.to.map((_, index) => index),
        stateSeq: known?.stateSeq ?? 0,
        leaseSeq: leaseSeqOf(shard),
        last: "",
        started: known?.record.started ?? 0,
      };
    },
    note({ shard, seq }: At, { envelope, started }: Found, open: readonly number[]) {
      const record = { attempt: 0, due: 0, open, idHash: idHashOf(envelope.id), last: "", started };
      return states.write(shard, seq, { record, leaseSeq: leaseSeqOf(shard) });
    },
  };
}
