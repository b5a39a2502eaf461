/** CORRIDOR: what people see of parked entries and do with them: shown, sent on their way again, returned, or dropped. Never rejects. */
import { type Envelope, entryName } from "#crds/wire/envelope.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { isEntryOf, isSiteWithin, parentSite } from "#crds/wire/subject.ts";
import type { Loaded } from "./load.ts";
import type { ActionName } from "./acts.ts";
import type { Deliver } from "./deliver.ts";
import type { Pod } from "./pod.ts";
import type { ParkedEntry, Poison } from "./poison.ts";
import { matches, type QueueQuery, selectorOf, sorted } from "./queue-query.ts";
import { bouncedByOperator, discarded } from "./queued-acts.ts";
import { type Decision, refuse } from "./settle/decide.ts";

export interface ParkedActsDeps {
  readonly pod: Pod;
  readonly poison: Poison;
  deliver(): Deliver;
  leaseSeqOf(shard: number): number;
}

export type ParkedActs = ReturnType<typeof createParkedActs>;

export function createParkedActs({ pod, poison, deliver, leaseSeqOf }: ParkedActsDeps) {
  const list = (query: QueueQuery): ParkedEntry[] => {
    const { tenant, site } = selectorOf(pod, query);
    return [...poison.list()].filter(({ id, envelope, subject = "" }) => {
      if (query.id !== undefined && id !== query.id) return false;
      if (envelope === undefined) {
        const isWhole = site === undefined && query.domain === undefined;
        return isWhole && (tenant === undefined || isEntryOf(subject, tenant));
      }
      if (tenant !== undefined && envelope.tenant !== tenant) return false;
      return (site === undefined || isSiteWithin(envelope.site, site)) && matches(envelope, query);
    });
  };

  /** What is left of it: of one that is damaged no body, and perhaps no envelope; undefined = nothing, or it is not known. */
  const read = async (entry: ParkedEntry) => {
    const { shard, seq } = entry;
    const [fetched, state] = await Promise.all([pod.entries.fetch(shard, seq), pod.states.read(shard, seq)]);
    if (fetched.kind === "gone") poison.release(shard, seq);
    if (fetched.kind === "gone" || fetched.kind === "unavailable" || state.kind === "unavailable")
      return undefined;
    const { envelope } = fetched;
    if (envelope !== undefined && isAnother(entry, envelope)) return undefined;
    const isIts =
      state.kind === "state" && envelope !== undefined && state.record.idHash === idHashOf(envelope.id);
    const { body, subject } = fetched.kind === "entry" ? fetched : { body: undefined, subject: undefined };
    return { envelope, body, subject, known: isIts ? state : undefined };
  };

  /** As it was before, with its tries forgotten. False = it cannot be read, or not be noted: it stays parked. */
  const retry = async (entry: ParkedEntry): Promise<boolean> => {
    const { envelope, body, subject, known } = (await read(entry)) ?? {};
    if (envelope === undefined || body === undefined || subject === undefined) return false;
    const { shard, seq } = entry;
    const { parked: _parked, started: _started, ...record } = known?.record ?? { attempt: 0 };
    if (known !== undefined && "due" in record) {
      const written = await pod.states.write(shard, seq, { record, leaseSeq: leaseSeqOf(shard) });
      if (written.kind !== "written") return false;
    }
    poison.release(shard, seq);
    deliver().add({ shard, seq, subject }, envelope, { state: "due" in record ? record : undefined });
    deliver().pump();
    return true;
  };

  /** Whose envelope cannot be read: nobody is told, since nobody is known. */
  const drop = ({ shard, seq, id, subject, reason }: ParkedEntry): Promise<boolean> =>
    new Promise((resolve) => {
      pod.entries.remove({ shard, seq, subject, isUnreadable: true }, (removed) => {
        const isGone = removed === "removed";
        if (isGone) {
          pod.log.warn("unreadable entry dropped", { shard, seq, id, reason });
          poison.release(shard, seq);
        }
        resolve(isGone);
      });
    });

  /** Returned to its sender, or discarded without a word. False = it stays parked. */
  const giveUp = async (
    action: "bounce" | "discard",
    entry: ParkedEntry,
    query: QueueQuery,
  ): Promise<boolean> => {
    const found = await read(entry);
    if (found === undefined) return false;
    const { envelope, body = Buffer.alloc(0), subject, known } = found;
    // A bounce owes its sender a report, which this one cannot have: only who names it may mean that.
    if (envelope === undefined) return action === "discard" || query.id !== undefined ? drop(entry) : false;
    const open = known?.record.open ?? envelope.to.map((_, index) => index);
    // What is parked is given up as a whole, or not.
    if (sorted({ envelope, open }, query).others.length > 0) return false;
    const decision =
      action === "bounce"
        ? refuse({ open, from: envelope.from, reply: bouncedByOperator })
        : refuse({ open, from: "", reply: discarded });
    const loaded = loadedOf({
      // Those of its children that are stored have their body there.
      envelope: envelope.site === parentSite ? { ...envelope, isBodyShared: true } : envelope,
      body,
      subject,
      open,
      stateSeq: known?.stateSeq ?? 0,
      leaseSeq: leaseSeqOf(entry.shard),
    });
    return new Promise((resolve) => {
      settle(entry, { loaded, decision }, () => {
        poison.release(entry.shard, entry.seq);
        resolve(true);
      });
    });
  };

  const settle = (entry: ParkedEntry, what: { loaded: Loaded; decision: Decision }, done: () => void): void =>
    deliver().settleParked(entry, what, done);

  return {
    list,
    async act(action: ActionName, entry: ParkedEntry, query: QueueQuery): Promise<boolean> {
      const { shard, seq } = entry;
      if (!pod.ownership.mayProceed(shard) || poison.isBeingParked(shard, seq)) return false;
      return action === "retry" ? retry(entry) : giveUp(action, entry, query);
    },
  };
}

/** A server that lost its end uses sequences again: what is stored there now is not what was parked. */
function isAnother({ envelope, subject }: ParkedEntry, stored: Envelope): boolean {
  // With a subject it is one that could not be read.
  if (envelope === undefined) return subject !== undefined;
  return entryName(envelope) !== entryName(stored);
}

function loadedOf(facts: Omit<Loaded, "last" | "started"> & { readonly envelope: Envelope }): Loaded {
  return { ...facts, last: "", started: 0 };
}
