/**
 * CORRIDOR: splits parent entries (messages for several sites): publishes a child per site, notes progress in the parent's
 * state, then deletes the parent. A crash in between publishes again under the same ids, which the duplicate window drops.
 * One that the owner before may have died of is noted first, as any entry is (poison.ts).
 */
import { hash32 } from "#crds/values/hash.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { parentSite, shardOf } from "#crds/wire/subject.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import type { Loaded } from "./load.ts";
import { envelopeOf, type Group, type Intake, type StoredAt } from "./intake.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";
import { domainOf } from "./smtp/address.ts";
import { createSplitQueue, type Splitting } from "./split-queue.ts";

/** Children published before progress is written down. */
const batch = 64;
const retryMs = 2000;
/** Pauses are multiplied by 1 − jitter … 1 + jitter: a shard's parents must not be read again all at once. */
const jitter = 0.2;
/** Together, of those that are being split: a quarter of what the publisher takes, and half of its bytes (`spool/publisher.ts`). */
const mostAtOnce = { children: 1024, bytes: 32_000_000 } as const;
/** How often it is looked whether the owner before is through with one. */
const lookMs = 100;

export interface ParentsDeps {
  readonly pod: Pick<Pod, "entries" | "states" | "publisher" | "settled" | "random">;
  readonly intake: Intake;
  readonly shards: number;
  leaseSeqOf(shard: number): number;
  owns(shard: number): boolean;
  stored(at: StoredAt, envelope: Envelope, body: Buffer): void;
  /** False while an owner of the shard before us is still at it. */
  mayBegin(at: Pick<StoredAt, "shard" | "seq">): boolean;
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
  /** Those of a tenant, or all: for a look. */
  list(tenant?: string): readonly Pick<Busy, "shard" | "seq" | "idHash">[];
}

export function createParents(deps: ParentsDeps): Parents {
  const { pod, intake, atOnce = mostAtOnce } = deps;
  const busy = new Map<string, Busy>();
  /** Of those being split, once it is read: for whoever has to look at one that fails. */
  const envelopes = new Map<string, Envelope>();

  const split = async (of: Busy): Promise<Split> => {
    const { shard, seq } = of;
    const fetched = await pod.entries.fetch(shard, seq);
    if (fetched.kind === "gone") return "done";
    if (fetched.kind === "unavailable") return retryMs;
    if (fetched.envelope !== undefined) envelopes.set(`${shard}:${seq}`, fetched.envelope);
    if (fetched.kind === "damaged") throw new Error(fetched.issues.map(formatIssue).join("; "));
    const { envelope, body, subject } = fetched;
    // A server that lost its end uses sequences again: this one is not for us.
    if (envelope.site !== parentSite) return "done";
    const state = await pod.states.read(shard, seq);
    if (state.kind === "unavailable") return retryMs;
    const idHash = idHashOf(envelope.id);
    const known = state.kind === "state" && state.record.idHash === idHash ? state : undefined;
    const found: Found = {
      envelope,
      body,
      subject,
      open: known?.record.open ?? envelope.to.map((_, index) => index),
      stateSeq: known?.stateSeq ?? 0,
      leaseSeq: deps.leaseSeqOf(shard),
      last: "",
      started: known?.record.started ?? 0,
    };
    // What goes on after a hand-over was noted before it began.
    if (!deps.owns(shard) || !deps.poison.isSuspectParent(shard, envelope.receivedAt))
      return publishAll(of, found);
    // One that has to wait is read anew: its shard may have gone and come back under another lease, and the note is fenced by that.
    const noted = await deps.poison.note({ shard, seq, idHash, attempt: 0, due: 0 }, found);
    return typeof noted === "number" ? noted : publishAll(of, noted.loaded).finally(noted.over);
  };

  const publishAll = async (of: Busy, found: Found): Promise<Split> => {
    const { shard, seq } = of;
    const { envelope, body, started } = found;
    const idHash = idHashOf(envelope.id);
    const open = new Set(found.open);
    const indexed = (await childrenOf(of, found)).filter(({ indexes }) =>
      indexes.some((index) => open.has(index)),
    );
    let { stateSeq } = found;
    for (let start = 0; start < indexed.length; start += batch) {
      const some = indexed.slice(start, start + batch);
      const results = await Promise.all(some.map((child) => publish(envelope, body, child)));
      const published = some.filter((_, place) => results[place] === true);
      for (const { indexes } of published) for (const index of indexes) open.delete(index);
      const { grouped } = of;
      if (grouped?.id === envelope.id)
        grouped.children = grouped.children.filter((child) => !published.includes(child));
      if (open.size === 0) break;
      if (published.length === 0) return retryMs;
      // The note is its owner's; who goes on after a hand-over remembers it.
      if (!deps.owns(shard) && published.length < some.length) return retryMs;
      if (!deps.owns(shard)) continue;
      // Also when others failed: a child that is published again after the duplicate window is mailed again.
      const record = { attempt: 0, due: 0, open: [...open], idHash, last: "", started };
      const written = await pod.states.write(shard, seq, { record, leaseSeq: deps.leaseSeqOf(shard) });
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
  const childrenOf = async (of: Busy, { envelope, open }: Found): Promise<readonly Child[]> => {
    // A server that lost its end uses sequences again.
    if (of.grouped?.id === envelope.id) return of.grouped.children;
    const groups = await intake.group({ id: envelope.id, to: open.map((index) => envelope.to[index] ?? "") });
    const children = indexesOf(envelope, groups);
    of.grouped = { id: envelope.id, children };
    return children;
  };

  const publish = (parent: Envelope, body: Buffer, child: Child): Promise<boolean> => {
    const {
      bodyChunks,
      site: _site,
      size: _size,
      moves: _moves,
      attempt: _attempt,
      due: _due,
      ...facts
    } = parent;
    const made = envelopeOf({ ...facts, to: child.group.to, body }, child.group.site, child.group.maxAgeMs);
    const shard = shardOf(child.group.site, deps.shards);
    const envelope = { ...made, bodyChunks, isBodyShared: bodyChunks > 0, size: parent.size };
    return new Promise((resolve) => {
      pod.publisher.store(
        {
          shard,
          envelope,
          body,
          messageId: messageIdOf(parent.id, child.indexes),
          by: "pod",
          isForeign: !deps.owns(shard),
        },
        (stored) => {
          if (stored.kind === "stored" && !stored.duplicate)
            deps.stored({ shard, seq: stored.seq, subject: stored.subject }, envelope, body);
          resolve(stored.kind === "stored");
        },
      );
    });
  };

  const queue = createSplitQueue<Busy>(atOnce, (of) => {
    const { shard, seq } = of;
    if (!isOurs(of)) end(of);
    else if (!deps.mayBegin({ shard, seq })) again(of, lookMs);
    else {
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
    busy.delete(`${of.shard}:${of.seq}`);
    envelopes.delete(`${of.shard}:${of.seq}`);
  };
  /** Also what has begun when its shard is handed over: its next owner may group in another way. */
  const isOurs = ({ shard, seq, grouped }: Busy): boolean =>
    deps.owns(shard) || (grouped !== undefined && deps.isAwaited(shard, seq));
  const again = (of: Busy, ms: number): void => {
    if (!isOurs(of)) return end(of);
    queue.leave(of);
    setTimeout(() => (isOurs(of) ? queue.enter(of) : end(of)), ms * (1 + jitter * (2 * pod.random() - 1)));
    return undefined;
  };

  return {
    split(shard, seq, { id, tenant, to, size }) {
      const key = `${shard}:${seq}`;
      if (busy.has(key)) return;
      const weight = new Set(to.map(domainOf)).size;
      const facts = { shard, seq, idHash: idHashOf(id), tenant, weight };
      const of = { ...facts, children: Math.min(weight, batch), bytes: size };
      busy.set(key, of);
      queue.enter(of);
    },
    drop(shard) {
      // What has begun, its next owner would group in another way.
      for (const of of queue.drop((one) => one.shard === shard && one.grouped === undefined)) end(of);
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
  };
}

/**
 * Names who is in it: when the recipients are grouped in another way after a crash, since a site has changed, a child with others in it must not
 * be taken for one that is stored.
 */
function messageIdOf(id: string, indexes: readonly number[]): string {
  const name = `${id}:${indexes[0] ?? 0}`;
  return indexes.length === 1 ? name : `${name}:${hash32(indexes.join()).toString(36)}`;
}

interface Busy extends Splitting {
  readonly shard: number;
  readonly seq: number;
  readonly idHash: number;
  readonly tenant: string;
  /** A child per site, hence per domain at most. */
  readonly weight: number;
  /** Since its recipients were grouped for the first time: the children that are left. */
  grouped?: { readonly id: string; children: readonly Child[] };
}

/** A number = ms until it is tried again. */
type Split = "done" | number;

/** A parent in hand, with what its state record says. */
interface Found extends Omit<Loaded, "subject"> {
  readonly subject: string;
}

interface Child {
  readonly group: Group;
  /** Into the parent's recipients, ascending. */
  readonly indexes: readonly number[];
}

/** The same address may stand in an envelope twice: each of its places goes to one child. */
function indexesOf(envelope: Envelope, groups: readonly Group[]): Child[] {
  const places = new Map<string, number[]>();
  for (const [index, address] of envelope.to.entries())
    places.set(address, [...(places.get(address) ?? []), index]);
  return groups.map((group) => ({
    group,
    indexes: [...new Set(group.to.flatMap((address) => places.get(address) ?? []))].sort((a, b) => a - b),
  }));
}
