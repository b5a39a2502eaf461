/**
 * CORRIDOR: what `why`, `top` and `queue` show and do. Each pod answers for the shards it owns; any pod asks all of them
 * and puts the answers together. A pod that does not answer in time is named, never passed over in silence.
 */
import { timeOfId } from "#mta-pod/runtime/message-id.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import type { EventRecord } from "#crds/wire/event.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Deliver } from "./deliver.ts";
import { type Pod, tenantOf } from "./pod.ts";
import type { ListedEntry } from "./schedule/types.ts";
import type { Peers } from "./spool/peers.ts";
import { createRates } from "./rates.ts";

const askMs = 4000;
const defaultLimit = 100;
const maxLimit = 1000;
/** Index entries looked at for one listing by domain or id. */
const maxScanned = 20_000;
const sitesShown = 50;

export interface QueueQuery {
  readonly tenant?: string | undefined;
  readonly site?: string | undefined;
  readonly domain?: string | undefined;
  readonly id?: string | undefined;
  readonly limit?: number | undefined;
}

export interface QueuedEntry {
  readonly id: string;
  readonly tenant: string;
  readonly stream: string;
  readonly class: string;
  readonly site: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly size: number;
  readonly receivedAt: number;
  readonly expiresAt: number;
  readonly attempt: number;
  readonly state: string;
  readonly due: number;
  readonly shard: number;
  readonly pod: string;
}

export interface ExplainDeps {
  readonly pod: Pod;
  readonly peers: Peers;
  readonly deliver: Deliver;
}

export type Explain = ReturnType<typeof createExplain>;

export function createExplain({ pod, peers, deliver }: ExplainDeps) {
  const rates = createRates(pod);

  const listHere = async (query: QueueQuery): Promise<{ entries: QueuedEntry[]; truncated: boolean }> => {
    const limit = Math.min(query.limit ?? defaultLimit, maxLimit);
    const selective = query.domain !== undefined || query.id !== undefined;
    const listed = pod.scheduler.list(selectorOf(pod, query), selective ? maxScanned : limit + 1);
    const idHash = query.id === undefined ? undefined : idHashOf(query.id);
    const entries: QueuedEntry[] = [];
    for (const item of listed) {
      if (entries.length >= limit) return { entries, truncated: true };
      if (idHash !== undefined && item.entry.idHash !== idHash) continue;
      const fetched = await pod.entries.fetch(item.entry.shard, item.entry.seq);
      if (fetched.kind !== "entry" || !matches(fetched.envelope, query)) continue;
      entries.push(shown(pod, item, fetched.envelope));
    }
    return { entries, truncated: selective && listed.length >= maxScanned };
  };

  const actHere = async (action: string, query: QueueQuery): Promise<{ affected: number }> => {
    const selector = selectorOf(pod, query);
    const idHash = query.id === undefined ? undefined : idHashOf(query.id);
    let affected = 0;
    for (const { handle, entry, state } of pod.scheduler.list(selector, Number.MAX_SAFE_INTEGER)) {
      if (state === "inflight" || (idHash !== undefined && entry.idHash !== idHash)) continue;
      if (action === "retry" && query.domain === undefined) {
        if (state === "waiting") pod.scheduler.requeue(handle, pod.clock.now());
        affected++;
        continue;
      }
      const fits = (envelope: Envelope) => matches(envelope, query);
      if (action === "retry" ? await deliver.retry(handle, fits) : await deliver.bounce(handle, fits))
        affected++;
    }
    deliver.pump();
    return { affected };
  };

  const topHere = () => {
    const now = pod.clock.now();
    const tenants = [...pod.scheduler.counts().tenants].map(([tenant, counts]) => ({
      tenant,
      ready: counts.ready + counts.inflight,
      waiting: counts.waiting,
      suspended: counts.suspended,
      oldestSeconds: counts.oldest > 0 ? (now - counts.oldest) / 1000 : null,
      ...rates.of(tenant),
    }));
    const sites = [...pod.scheduler.sites()].map((site) => ({ site, ...pod.scheduler.siteState(site) }));
    return { tenants, sites: sites.toSorted((a, b) => b.queued - a.queued).slice(0, sitesShown) };
  };

  const bindingHere = (query: {
    tenant: string;
    site: string;
  }): { binding: string | null; backoffUntil: number } => {
    if (!pod.scheduler.knowsSite(query.site)) return { binding: null, backoffUntil: 0 };
    const tenant = tenantOf(pod, query.tenant);
    const { binding, backoffUntil } = pod.scheduler.siteState(query.site);
    if (tenant === undefined) return { binding: "tenant is not configured", backoffUntil };
    return { binding: tenant.state === "Hold" ? "tenant is on hold" : binding, backoffUntil };
  };

  peers.serve(async (kind, query) => {
    switch (kind) {
      case "queue":
        return listHere(query as QueueQuery);
      case "top":
        return topHere();
      case "binding":
        return bindingHere(query as { tenant: string; site: string });
      case "retry":
      case "bounce":
        return actHere(kind, query as QueueQuery);
      default:
        throw new Error(`Cannot answer "${kind}": this release does not know it`);
    }
  });

  const queue = async (query: QueueQuery) => {
    const answers = await peers.ask("queue", query, askMs);
    const limit = Math.min(query.limit ?? defaultLimit, maxLimit);
    const lists = answers.map(({ answer }) => answer as { entries: QueuedEntry[]; truncated: boolean });
    const entries = lists.flatMap((list) => list.entries).toSorted((a, b) => a.receivedAt - b.receivedAt);
    return {
      entries: entries.slice(0, limit),
      truncated: entries.length > limit || lists.some((list) => list.truncated),
    };
  };

  return {
    queue,
    async act(action: "retry" | "bounce", query: QueueQuery) {
      const answers = await peers.ask(action, query, askMs);
      return {
        affected: answers.reduce((sum, { answer }) => sum + (answer as { affected: number }).affected, 0),
      };
    },
    async top() {
      const answers = (await peers.ask("top", {}, askMs)).map(
        ({ answer }) => answer as ReturnType<typeof topHere>,
      );
      return mergeTop(answers);
    },
    /** `null` = no such message, or (with `tenant`) not that tenant's: the two must not be told apart. */
    async message(id: string, tenant?: string) {
      const fromMs = timeOfId(id);
      if (Number.isNaN(fromMs)) return null;
      await pod.eventLog.flush();
      const found = await pod.eventLog.find(id, { fromMs, boundMs: 5000 });
      const events: readonly EventRecord[] = found.events;
      const facts = events.find((event) => event.tenant !== "");
      if (tenant !== undefined && facts !== undefined && facts.tenant !== tenant) return null;
      const { entries } = await queue({ id, tenant: facts?.tenant ?? tenant });
      if (events.length === 0 && entries.length === 0) return null;
      const [first] = entries;
      if (first === undefined)
        return { id, events, entries, binding: null, nextAttempt: null, truncated: found.until === "bound" };
      const asked = await peers.ask("binding", { tenant: first.tenant, site: first.site }, askMs);
      const states = asked.map(({ answer }) => answer as ReturnType<typeof bindingHere>);
      const binding = states.find((state) => state.binding !== null)?.binding ?? null;
      const backoffUntil = Math.max(0, ...states.map((state) => state.backoffUntil));
      return {
        id,
        events,
        entries,
        binding,
        nextAttempt: Math.max(first.due, backoffUntil) || null,
        truncated: found.until === "bound",
      };
    },
    stop: rates.stop,
  };
}

function selectorOf(pod: Pod, { tenant, site }: QueueQuery): { tenant?: string; site?: string } {
  return {
    ...(tenant === undefined ? {} : { tenant: fullName(pod, tenant) }),
    ...(site === undefined ? {} : { site }),
  };
}

/** A bare name is taken when it is unique (decisions.md 1). */
function fullName(pod: Pod, tenant: string): string {
  if (tenant.includes("/")) return tenant;
  const named = [...pod.config().tenants.keys()].filter((id) => id.endsWith(`/${tenant}`));
  return named.length === 1 ? (named[0] ?? tenant) : tenant;
}

function matches(envelope: Envelope, { domain, id }: QueueQuery): boolean {
  if (id !== undefined && envelope.id !== id) return false;
  return (
    domain === undefined ||
    envelope.to.some((address) => address.toLowerCase().endsWith(`@${domain.toLowerCase()}`))
  );
}

function shown(pod: Pod, { entry, lane, state }: ListedEntry, envelope: Envelope): QueuedEntry {
  const { id, tenant, stream, from, to, size, receivedAt, expiresAt } = envelope;
  const { attempt, due, shard } = entry;
  return {
    id,
    tenant,
    stream,
    class: lane.class,
    site: lane.site,
    from,
    to,
    size,
    receivedAt,
    expiresAt,
    attempt,
    state,
    due,
    shard,
    pod: pod.name,
  };
}

type Top = {
  tenants: {
    tenant: string;
    ready: number;
    waiting: number;
    suspended: number;
    oldestSeconds: number | null;
    receivedPerSecond: number;
    deliveredPerSecond: number;
  }[];
  sites: {
    site: string;
    queued: number;
    open: number;
    window: number;
    binding: string | null;
    backoffUntil: number;
  }[];
};

function mergeTop(answers: readonly Top[]): Top {
  const tenants = new Map<string, Top["tenants"][number]>();
  for (const one of answers.flatMap((answer) => answer.tenants)) {
    const sum = tenants.get(one.tenant);
    if (sum === undefined) tenants.set(one.tenant, { ...one });
    else {
      sum.ready += one.ready;
      sum.waiting += one.waiting;
      sum.suspended += one.suspended;
      sum.oldestSeconds = Math.max(sum.oldestSeconds ?? 0, one.oldestSeconds ?? 0) || null;
      sum.receivedPerSecond += one.receivedPerSecond;
      sum.deliveredPerSecond += one.deliveredPerSecond;
    }
  }
  const sites = answers.flatMap((answer) => answer.sites).toSorted((a, b) => b.queued - a.queued);
  return { tenants: [...tenants.values()], sites: sites.slice(0, sitesShown) };
}
