/**
 * CORRIDOR: what `why`, `top` and `queue` show and do. Each pod answers for the shards it owns; any pod asks all of them
 * and puts the answers together. A pod that does not answer in time is named, never passed over in silence.
 */
import { timeOfId } from "#mta-pod/runtime/message-id.ts";
import type { EventRecord } from "#crds/wire/event.ts";
import { maxListed, maxPeerAnswerBytes, type PeerAnswer } from "#crds/wire/peer.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { isOfMessages, type Selection } from "#crds/wire/selection.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { ActionName, Acts } from "./acts.ts";
import type { ParkedActs } from "./parked-acts.ts";
import { type Pod, silentOf, tenantOf } from "./pod.ts";
import {
  matches,
  namedTenant,
  type QueueQuery,
  refuseSeveral,
  selectorOf,
  tenantsCalled,
} from "./queue-query.ts";
import { nextOf, type QueuedEntry, shown, shownParked, shownUnsplit, withOpen } from "./queued-entry.ts";
import { domainOf } from "./smtp/address.ts";
import type { Peers } from "./spool/peers.ts";
import type { Suspending } from "./suspend.ts";
import { createTop, mergeTop, type Top } from "./top.ts";
import type { UnsplitActs } from "./unsplit-acts.ts";

const askMs = 4000;
/** Events not stored by then are not in the answer: JetStream is away. */
const flushMs = 1000;
/** Clocks of pods differ by less; an id of later is nobody's yet. */
const skewMs = 60_000;
const defaultLimit = 100;
/** Questions that only show something. */
const looks: ReadonlySet<string> = new Set(["queue", "top", "flush", "binding", "suspended"]);
const isLook = (kind: string): boolean => looks.has(kind);
/** Index entries looked at for one listing by domain. */
const maxScanned = 20_000;
/** What was found by then is the pod's part: its answer has to come within `askMs`. */
const listMs = 3000;
/** The entries of one answer: it holds a few words besides. */
const maxListBytes = maxPeerAnswerBytes - 1024;

interface QueueList {
  readonly entries: readonly QueuedEntry[];
  /** There are more, or may be. */
  readonly truncated: boolean;
}

export interface ExplainDeps {
  readonly pod: Pod;
  readonly peers: Peers;
  readonly acts: Acts;
  readonly parked: Pick<ParkedActs, "list">;
  readonly unsplit: Pick<UnsplitActs, "list">;
  readonly suspending: Suspending;
  /** What keeps mail from being tried there, in words; "" = nothing is known. */
  troubleOf(site: string): string;
  /** Answers peers' questions that are not about the queue. */
  answer?(kind: string, query: unknown): Promise<unknown>;
}

export type Explain = ReturnType<typeof createExplain>;

export function createExplain(deps: ExplainDeps) {
  const { pod, peers, acts, suspending } = deps;
  const top = createTop(pod, suspending);

  const listHere = async (query: QueueQuery): Promise<QueueList> => {
    const limit = limitOf(query);
    const most = query.domain === undefined ? limit + 1 : maxScanned;
    const selector = selectorOf(pod, query);
    const listed =
      query.id === undefined
        ? pod.scheduler.list(selector, most)
        : pod.scheduler.withIdHash(idHashOf(query.id), selector);
    const endsAt = pod.clock.monotonic() + listMs;
    const entries: QueuedEntry[] = [];
    let bytes = 0;
    const add = (entry: QueuedEntry): boolean => {
      bytes += Buffer.byteLength(JSON.stringify(entry)) + 1;
      const fits = entries.length < limit && bytes <= maxListBytes;
      if (fits) entries.push(entry);
      return fits;
    };
    for (const entry of deps.parked.list(query))
      if (!add(shownParked(pod, entry))) return { entries, truncated: true };
    for (const item of listed) {
      if (entries.length >= limit || pod.clock.monotonic() > endsAt) return { entries, truncated: true };
      const fetched = await pod.entries.fetch(item.entry.shard, item.entry.seq);
      if (fetched.kind !== "entry") continue;
      const envelope = await withOpen(pod, item.entry, fetched.envelope);
      if (!matches(envelope, query)) continue;
      if (!add(shown(deps, item, envelope))) return { entries, truncated: true };
    }
    for (const { shard, seq } of deps.unsplit.list(query)) {
      if (entries.length >= limit || pod.clock.monotonic() > endsAt) return { entries, truncated: true };
      const fetched = await pod.entries.fetch(shard, seq);
      if (fetched.kind !== "entry" || fetched.envelope.site !== parentSite) continue;
      if (!matches(fetched.envelope, query)) continue;
      if (!add(shownUnsplit(pod, shard, fetched.envelope))) return { entries, truncated: true };
    }
    return { entries, truncated: query.domain !== undefined && listed.length >= maxScanned };
  };

  const bindingHere = (query: {
    tenant: string;
    site: string;
    /** Absent in questions of a release before. */
    from?: string;
    id?: string;
    to?: readonly string[];
  }): { binding: string | null; backoffUntil: number } => {
    if (!pod.scheduler.knowsSite(query.site)) return { binding: null, backoffUntil: 0 };
    const tenant = tenantOf(pod, query.tenant);
    const { backoffUntil } = pod.scheduler.siteState(query.site);
    const { site, from } = query;
    const senderDomain = from === undefined ? {} : { senderDomain: domainOf(from) };
    const binding = pod.scheduler.bindingOf({ site, tenant: query.tenant, ...senderDomain });
    if (tenant === undefined) return { binding: "tenant is not configured", backoffUntil };
    if (tenant.state === "Hold") return { binding: "tenant is on hold", backoffUntil };
    const trouble = binding === "backoff" ? deps.troubleOf(site) : "";
    const held = trouble === "" ? binding : `${binding}: ${trouble}`;
    const { id = "", to = [] } = query;
    return { binding: suspending.describe(query, { id, to }) ?? held, backoffUntil };
  };

  /** Of messages those are counted that a list would show. */
  const suspendedHere = async (query: unknown) => {
    const answer = await suspending.here(query);
    const { tenant, site, domain, id } = query as Selection;
    if (!isOfMessages({ domain, id })) return answer;
    const { entries } = await listHere({ tenant, site, domain, id, limit: maxListed });
    return { ...answer, count: entries.length };
  };

  peers.serve(async (kind, query) => {
    switch (kind) {
      case "queue":
        return listHere(query as QueueQuery);
      case "top":
        return top.here();
      case "flush":
        await pod.eventLog.flush();
        return {};
      case "binding":
        return bindingHere(query as Parameters<typeof bindingHere>[0]);
      case "act":
        return acts.beginHere(query);
      case "act-progress":
        return acts.progressHere(query);
      case "suspended":
        return suspendedHere(query);
      default:
        if (deps.answer !== undefined) return deps.answer(kind, query);
        throw new Error(`Cannot answer "${kind}": this release does not know it`);
    }
  }, isLook);

  const queue = async (query: QueueQuery) => {
    refuseUnclear(pod, query);
    const answers = (await peers.ask("queue", query, askMs)).filter(isQueueList);
    const limit = limitOf(query);
    const lists = answers.map(({ answer }) => answer);
    const entries = lists.flatMap((list) => list.entries).toSorted((a, b) => a.receivedAt - b.receivedAt);
    return {
      entries: entries.slice(0, limit),
      truncated: entries.length > limit || lists.some((list) => list.truncated),
      silent: silentOf(pod, answers),
    };
  };

  return {
    queue,
    tenants: async (name: string) => ({ tenants: tenantsCalled(pod.config().tenants, name) }),
    async act(action: ActionName, query: QueueQuery) {
      refuseUnclear(pod, query);
      return acts.act(action, query);
    },
    progress: acts.progress,
    suspend: (selection: Selection, forSeconds?: number) =>
      suspending.suspend(named(pod, selection), forSeconds),
    resume: (selection: Selection) => suspending.resume(named(pod, selection)),
    async top(): Promise<Top & { readonly silent: readonly string[] }> {
      const answers = (await peers.ask("top", {}, askMs)).filter(isTop);
      return { ...mergeTop(answers.map(({ answer }) => answer)), silent: silentOf(pod, answers) };
    },
    /** `null` = no such message, or (with `tenant`) not that tenant's: the two must not be told apart. */
    async message(id: string, tenant?: string) {
      const fromMs = timeOfId(id);
      if (Number.isNaN(fromMs) || fromMs > pod.clock.now() + skewMs) return null;
      // The pod that took the message, and the one that sends it, may have events that are a moment old.
      await peers.ask("flush", {}, flushMs);
      const found = await pod.eventLog.find(id, { fromMs, boundMs: 5000 });
      const events: readonly EventRecord[] = found.events;
      const facts = events.find((event) => event.tenant !== "");
      if (tenant !== undefined && facts !== undefined && facts.tenant !== tenant) return null;
      const { entries, silent } = await queue({ id, tenant: facts?.tenant ?? tenant });
      // Whoever may see all mail is told of pods that may have it; a tenant is told nothing of what may be another's.
      if (events.length === 0 && entries.length === 0 && (tenant !== undefined || silent.length === 0))
        return null;
      const known = { id, events, entries, silent, truncated: found.until === "bound" };
      const first = nextOf(entries);
      if (first === undefined) return { ...known, binding: null, nextAttempt: null };
      if (first.reason !== undefined)
        return { ...known, binding: `parked: ${first.reason}`, nextAttempt: null };
      const { tenant: of, site, from, to } = first;
      const asked = await peers.ask("binding", { tenant: of, site, from, id, to }, askMs);
      const states = asked.map(({ answer }) => answer as ReturnType<typeof bindingHere>);
      const binding = states.find((state) => state.binding !== null)?.binding ?? null;
      const backoffUntil = Math.max(0, ...states.map((state) => state.backoffUntil));
      return {
        ...known,
        silent: [...new Set([...silent, ...silentOf(pod, asked)])],
        binding,
        nextAttempt: (first.stopped === undefined && Math.max(first.due, backoffUntil)) || null,
      };
    },
    stop: top.stop,
  };
}

function limitOf({ limit = defaultLimit }: QueueQuery): number {
  return Math.min(limit, maxListed);
}

/** False for a pod that had to say that its answer is too large: it is as good as silent. */
function isQueueList(said: PeerAnswer): said is PeerAnswer & { readonly answer: QueueList } {
  return hasList(said, "entries");
}

function isTop(said: PeerAnswer): said is PeerAnswer & { readonly answer: Top } {
  return hasList(said, "tenants");
}

function hasList({ answer }: PeerAnswer, name: string): boolean {
  return typeof answer === "object" && answer !== null && Array.isArray(Reflect.get(answer, name));
}

function refuseUnclear(pod: Pod, { tenant }: QueueQuery): void {
  if (tenant !== undefined) refuseSeveral(pod.config().tenants, tenant);
}

function named(pod: Pod, selection: Selection): Selection {
  const { tenant } = selection;
  return tenant === undefined
    ? selection
    : { ...selection, tenant: namedTenant(pod.config().tenants, tenant) };
}
