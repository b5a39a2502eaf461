/** CORRIDOR: what people see of parked entries and do with them: shown, sent on their way again, or returned. Never rejects. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { isSiteWithin } from "#crds/wire/subject.ts";
import type { Loaded } from "./attempt.ts";
import type { ActionName } from "./acts.ts";
import type { Deliver } from "./deliver.ts";
import type { Pod } from "./pod.ts";
import type { ParkedEntry, Poison } from "./poison.ts";
import { matches, type QueueQuery, selectorOf, sorted } from "./queue-query.ts";
import { type Decision, refuse } from "./settle/decide.ts";
import type { Reply } from "./smtp/reply.ts";

export interface ParkedActsDeps {
  readonly pod: Pod;
  readonly poison: Poison;
  deliver(): Deliver;
  leaseSeqOf(shard: number): number;
}

/** A bounce's reply, and what is to be bounced. */
interface How {
  readonly reply: Reply;
  readonly query: QueueQuery;
}

export type ParkedActs = ReturnType<typeof createParkedActs>;

export function createParkedActs({ pod, poison, deliver, leaseSeqOf }: ParkedActsDeps) {
  const list = (query: QueueQuery): ParkedEntry[] => {
    const { tenant, site } = selectorOf(pod, query);
    return [...poison.list()].filter(({ id, envelope }) => {
      if (query.id !== undefined) return id === query.id;
      if (envelope === undefined)
        return tenant === undefined && site === undefined && query.domain === undefined;
      if (tenant !== undefined && envelope.tenant !== tenant) return false;
      return (site === undefined || isSiteWithin(envelope.site, site)) && matches(envelope, query);
    });
  };

  const read = async ({ shard, seq }: ParkedEntry) => {
    const [fetched, state] = await Promise.all([pod.entries.fetch(shard, seq), pod.states.read(shard, seq)]);
    if (fetched.kind === "gone") poison.release(shard, seq);
    if (fetched.kind !== "entry" || state.kind === "unavailable") return undefined;
    const { envelope, body, subject } = fetched;
    const known = state.kind === "state" && state.record.idHash === idHashOf(envelope.id) ? state : undefined;
    return { envelope, body, subject, known };
  };

  /** As it was before, with its tries forgotten. False = it cannot be read, or not be noted: it stays parked. */
  const retry = async (entry: ParkedEntry): Promise<boolean> => {
    const found = await read(entry);
    if (found === undefined) return false;
    const { shard, seq } = entry;
    const { envelope, subject, known } = found;
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

  const bounce = async (entry: ParkedEntry, { reply, query }: How): Promise<boolean> => {
    const found = await read(entry);
    if (found === undefined) return false;
    const { envelope, body, subject, known } = found;
    const open = known?.record.open ?? envelope.to.map((_, index) => index);
    // What is parked is given up as a whole, or not.
    if (sorted({ envelope, open }, query).others.length > 0) return false;
    const decision = refuse({ open, from: envelope.from, reply });
    const loaded = loadedOf({
      envelope,
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
    async act(action: ActionName, entry: ParkedEntry, how: How): Promise<boolean> {
      const { shard, seq } = entry;
      if (!pod.ownership.mayProceed(shard) || poison.isBeingParked(shard, seq)) return false;
      return action === "retry" ? retry(entry) : bounce(entry, how);
    },
  };
}

function loadedOf(facts: Omit<Loaded, "last" | "started"> & { readonly envelope: Envelope }): Loaded {
  return { ...facts, last: "", started: 0 };
}
