/**
 * CORRIDOR: splits parent entries (messages for several sites): publishes a child per site, notes progress in the parent's
 * state, then deletes the parent. A crash in between publishes again under the same ids, which the duplicate window drops.
 * One that the owner before may have died of is noted first, as any entry is (poison.ts).
 */
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { type Child, type ChildrenDeps, createChildren } from "./children.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";
import { domainOf } from "./smtp/address.ts";
import { createSplitQueue, mostAtOnce, type Splitting } from "./split-queue.ts";
import { type At, createStoredParents, type Found, type Taken } from "./stored-parents.ts";

/** Children published before progress is written down. */
const batch = 64;
const retryMs = 2000;
/** Pauses are multiplied by 1 − jitter … 1 + jitter: a shard's parents must not be read again all at once. */
const jitter = 0.2;
/** How often it is looked whether the owner before is through with one. */
const lookMs = 100;

export interface ParentsDeps extends ChildrenDeps {
  readonly pod: Pick<Pod, "entries" | "states" | "publisher" | "settled" | "random">;
  leaseSeqOf(shard: number): number;
  /** False while an owner of the shard before us is still at it. */
  mayBegin(at: At): boolean;
  /** Its shard was handed over while it was being split: the next owner leaves it alone until we are through with it. */
  isAwaited(shard: number, seq: number): boolean;
  /** Default 1,024 children and 32 MB. */
  readonly atOnce?: Splitting;
  readonly poison: Pick<Poison, "failed" | "park" | "isSuspectParent" | "note">;
}

export interface Parents {
  split(shard: number, seq: number, parent: Pick<Envelope, "id" | "tenant" | "to" | "size">): void;
  /** The shard is not ours any more, is about to be handed over, or will be read again: forgets those of which nothing has begun. */
  drop(shard: number): void;
  /** Parents of the shard that are being split, or wait for it. */
  underWay(shard: number): number;
  /** Their sequences. */
  sequences(shard: number): number[];
  /** Of all shards. */
  size(): number;
  /** Entries that may come of a tenant's. */
  weightOf(tenant: string): number;
  has(shard: number, seq: number): boolean;
  /** Those of a tenant, or all: for a look, or an act. */
  list(tenant?: string): readonly Unsplit[];
  /**
   * Out of its turn, for an act; what is being split just now is waited for. It goes on when it is put back. undefined = it is done with, or
   * cannot be read.
   */
  take(at: At): Promise<Taken | undefined>;
  /** One that pauses is tried at once; of the message `id` also what is for later. False = it is done with. */
  hasten(at: At, id?: string): boolean;
}

export type Unsplit = Pick<Busy, "shard" | "seq" | "idHash">;

export function createParents(deps: ParentsDeps): Parents {
  const { pod, atOnce = mostAtOnce } = deps;
  const children = createChildren(deps);
  const stored = createStoredParents(pod, deps.leaseSeqOf);
  const busy = new Map<string, Busy>();
  /** Of those being split, once it is read: for whoever has to look at one that fails. */
  const envelopes = new Map<string, Envelope>();

  const read = async (of: Busy): Promise<Found | Split> => {
    const found = await stored.read(of);
    if (found === "gone") return "done";
    if (found === "unavailable") return retryMs;
    if (found.envelope !== undefined) envelopes.set(`${of.shard}:${of.seq}`, found.envelope);
    if ("damaged" in found) throw new Error(found.damaged);
    return found;
  };

  const split = async (of: Busy): Promise<Split> => {
    const { shard, seq } = of;
    const found = await read(of);
    if (typeof found !== "object") return found;
    // What goes on after a hand-over was noted before it began.
    if (!deps.owns(shard) || !deps.poison.isSuspectParent(shard, found.envelope.receivedAt))
      return publishAll(of, found);
    // One that has to wait is read anew: its shard may have gone and come back under another lease, and the note is fenced by that.
    const idHash = idHashOf(found.envelope.id);
    const noted = await deps.poison.note({ shard, seq, idHash, attempt: 0, due: 0 }, found);
    return typeof noted === "number" ? noted : publishAll(of, noted.loaded).finally(noted.over);
  };

  const publishAll = async (of: Busy, found: Found): Promise<Split> => {
    const { shard } = of;
    const { envelope, body } = found;
    const known = new Set(found.open);
    const isLeft = (index: number): boolean => known.has(index);
    const indexed = (await grouped(of, found)).filter(({ indexes }) => indexes.some(isLeft));
    const open = new Set(indexed.flatMap(({ indexes }) => indexes.filter(isLeft)));
    let { stateSeq } = found;
    for (let start = 0; start < indexed.length; start += batch) {
      const some = indexed.slice(start, start + batch);
      const message = of.now === envelope.id ? { ...envelope, sendAt: 0 } : envelope;
      const results = await Promise.all(some.map((child) => children.publish(message, body, child)));
      const published = some.filter((_, place) => results[place] === true);
      for (const { indexes } of published) for (const index of indexes) open.delete(index);
      if (of.grouped?.id === envelope.id)
        of.grouped.children = of.grouped.children.filter((child) => !published.includes(child));
      if (open.size === 0) break;
      if (published.length === 0) return retryMs;
      // The note is its owner's; who goes on after a hand-over remembers it.
      if (!deps.owns(shard) && published.length < some.length) return retryMs;
      if (!deps.owns(shard)) continue;
      // Also when others failed: a child that is published again after the duplicate window is mailed again.
      const written = await stored.note(of, found, [...open]);
      if (written.kind !== "written") return retryMs;
      stateSeq = written.stateSeq;
      if (published.length < some.length) return retryMs;
    }
    return remove(of, found, stateSeq);
  };

  /** All that comes of it is stored: its body is not held any longer. */
  const remove = (of: Busy, { envelope, subject }: Found, stateSeq: number): Promise<Split> => {
    const { shard, seq } = of;
    queue.leave(of);
    // Should its delete be forgotten, whoever owns the shard then is to know.
    pod.settled.note(envelope);
    return new Promise((resolve) => {
      pod.entries.remove({ shard, seq, entry: envelope, subject }, () => {
        if (stateSeq > 0) pod.states.remove(shard, stateSeq, { of: seq });
        resolve("done");
      });
    });
  };

  /** The same however often it is tried here: who is in a child that was published must not come to be in another one. */
  const grouped = async (of: Busy, { envelope, open }: Found): Promise<readonly Child[]> => {
    // A server that lost its end uses sequences again.
    if (of.grouped?.id === envelope.id) return of.grouped.children;
    const made = await children.of(envelope, open);
    of.grouped = { id: envelope.id, children: made };
    return made;
  };

  const taken = (of: Busy, found: Found, wasBegun: boolean): Taken => {
    const { envelope, open } = found;
    const begun = of.grouped?.id === envelope.id ? of.grouped.children : undefined;
    const parts = begun?.map(({ indexes }) => indexes) ?? open.map((index) => [index]);
    return {
      loaded: found,
      wasBegun,
      parts,
      async putBack(settled) {
        const rest = parts.filter((part) => !settled.includes(part)).flat();
        if (settled.length === 0) return enter(of);
        if (rest.length === 0) return remove(of, found, found.stateSeq).then(() => end(of));
        // Also when nothing of it was published: who is settled is not to come into a child.
        const left =
          begun?.filter(({ indexes }) => !settled.includes(indexes)) ?? (await children.of(envelope, rest));
        of.grouped = { id: envelope.id, children: left };
        while (deps.owns(of.shard) && (await stored.note(of, found, rest)).kind === "unavailable")
          await new Promise((resolve) => setTimeout(resolve, retryMs));
        return enter(of);
      },
    };
  };

  const queue = createSplitQueue<Busy>(atOnce, (of) => {
    const { shard, seq } = of;
    // It was taken out of its turn meanwhile.
    if (of.at !== "queue") return false;
    if (!isOurs(of)) end(of);
    else if (!deps.mayBegin({ shard, seq })) again(of, lookMs);
    else {
      of.at = "splitting";
      void split(of).then(
        (result) => (result === "done" ? end(of) : again(of, result)),
        (error: unknown) => failed(of, error instanceof Error ? error.message : String(error)),
      );
      return true;
    }
    return false;
  });
  const failed = (of: Busy, reason: string): void => {
    const { shard, seq } = of;
    const envelope = envelopes.get(`${shard}:${seq}`);
    const entry = {
      shard,
      seq,
      idHash: envelope === undefined ? 0 : idHashOf(envelope.id),
      attempt: 0,
      due: 0,
    };
    const next = deps.poison.failed({ ...entry, id: envelope?.id }, reason, false);
    if (next !== "park") return again(of, next);
    queue.leave(of);
    return deps.poison.park(entry, { envelope, reason }, () => end(of));
  };
  const end = (of: Busy): void => {
    queue.leave(of);
    of.at = "over";
    busy.delete(`${of.shard}:${of.seq}`);
    envelopes.delete(`${of.shard}:${of.seq}`);
    of.wanted?.();
  };
  /** Also what has begun when its shard is handed over: its next owner may group in another way. */
  const isOurs = ({ shard, seq, grouped }: Busy): boolean =>
    deps.owns(shard) || (grouped !== undefined && deps.isAwaited(shard, seq));
  const enter = (of: Busy): void => {
    clearTimeout(of.timer);
    if (!isOurs(of)) return end(of);
    of.at = "queue";
    return queue.enter(of);
  };
  const again = (of: Busy, ms: number): void => {
    if (!isOurs(of)) return end(of);
    queue.leave(of);
    of.at = "pausing";
    if (of.wanted !== undefined) return of.wanted();
    of.timer = setTimeout(() => enter(of), ms * (1 + jitter * (2 * pod.random() - 1)));
    return undefined;
  };

  return {
    split(shard, seq, { id, tenant, to, size }) {
      const key = `${shard}:${seq}`;
      if (busy.has(key)) return;
      const weight = new Set(to.map(domainOf)).size;
      const facts = { shard, seq, idHash: idHashOf(id), tenant, weight };
      const of: Busy = { ...facts, children: Math.min(weight, batch), bytes: size, at: "queue" };
      busy.set(key, of);
      queue.enter(of);
    },
    drop(shard) {
      // What has begun, its next owner would group in another way.
      const waits = ({ at, grouped }: Busy): boolean => at === "queue" && grouped === undefined;
      for (const of of queue.drop((one) => one.shard === shard && waits(one))) end(of);
    },
    underWay: (shard) => [...busy.values()].filter((of) => of.shard === shard).length,
    sequences: (shard) => [...busy.values()].filter((of) => of.shard === shard).map(({ seq }) => seq),
    size: () => busy.size,
    weightOf(tenant) {
      let weight = 0;
      for (const of of busy.values()) if (of.tenant === tenant) weight += of.weight;
      return weight;
    },
    has: (shard, seq) => busy.has(`${shard}:${seq}`),
    list: (tenant) => [...busy.values()].filter((of) => tenant === undefined || of.tenant === tenant),
    async take({ shard, seq }) {
      const of = busy.get(`${shard}:${seq}`);
      // Two acts at a time: the other one has it.
      if (of === undefined || of.at === "taken" || of.wanted !== undefined) return undefined;
      const wasBegun = of.at === "splitting";
      if (wasBegun) await new Promise<void>((resolve) => (of.wanted = resolve));
      of.wanted = undefined;
      if (of.at === "over" || of.at === "splitting") return undefined;
      clearTimeout(of.timer);
      of.at = "taken";
      const found = deps.mayBegin({ shard, seq }) ? await read(of).catch(() => retryMs) : lookMs;
      if (typeof found === "object") return taken(of, found, wasBegun);
      if (found === "done") end(of);
      else again(of, found);
      return undefined;
    },
    hasten({ shard, seq }, id) {
      const of = busy.get(`${shard}:${seq}`);
      if (of === undefined) return false;
      of.now = id ?? of.now;
      if (of.at === "pausing") enter(of);
      return true;
    },
  };
}

interface Busy extends Splitting, At {
  readonly idHash: number;
  readonly tenant: string;
  /** A child per site, hence per domain at most. */
  readonly weight: number;
  /** Since its recipients were grouped for the first time: the children that are left. */
  grouped?: { readonly id: string; children: readonly Child[] };
  at: "queue" | "splitting" | "pausing" | "taken" | "over";
  timer?: NodeJS.Timeout;
  /** An act waits for it. */
  wanted?: (() => void) | undefined;
  /** The message whose children are not for later. */
  now?: string | undefined;
}

/** A number = ms until it is tried again. */
type Split = "done" | number;
