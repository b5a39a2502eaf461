/** CORRIDOR: reads a queued entry for whoever is to handle it: the stored message and, when it was deferred, its state. Never rejects. */
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Loaded } from "./attempt.ts";
import type { Pod } from "./pod.ts";
import type { Entry } from "./schedule/types.ts";

/** "changed": another message is stored there than the one that was indexed. */
type NotLoaded = "gone" | "changed" | "damaged" | "unavailable";

export type Load = (entry: Entry) => Promise<Loaded | NotLoaded>;

export function createLoad(
  { entries, states, log }: Pick<Pod, "entries" | "states" | "log">,
  leaseSeqOf: (shard: number) => number,
): Load {
  return async ({ shard, seq, idHash, attempt }) => {
    const fetched = await entries.fetch(shard, seq);
    if (fetched.kind === "gone" || fetched.kind === "unavailable") return fetched.kind;
    if (fetched.kind === "damaged") {
      log.error("entry damaged", { shard, seq, issues: fetched.issues });
      return "damaged";
    }
    const { envelope, body, subject } = fetched;
    if (idHashOf(envelope.id) !== idHash) return "changed";
    const all = envelope.to.map((_, index) => index);
    const leaseSeq = leaseSeqOf(shard);
    const asNew: Loaded = { envelope, body, subject, open: all, stateSeq: 0, leaseSeq, last: "" };
    if (attempt === 0) return asNew;
    const state = await states.read(shard, seq);
    if (state.kind === "unavailable") return "unavailable";
    if (state.kind === "none" || state.record.idHash !== idHash) return asNew;
    const open = state.record.open.filter((index) => index < all.length);
    const { last } = state.record;
    return { ...asNew, open: open.length === 0 ? all : open, stateSeq: state.stateSeq, last };
  };
}
