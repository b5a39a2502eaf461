/** What `why`, `top` and metrics are told of sites and tenants. Reads only. */
import type { EntryTable } from "./entry-table.ts";
import { noSlot } from "./entry-table.ts";
import type { LaneState, TenantState } from "./lane-state.ts";
import type { SiteState } from "./site-state.ts";
import type { Binding, QueueCounts, SiteReport, SourceWeight, TenantCounts, Unserved } from "./types.ts";

export const unknownSite: SiteReport = {
  window: 0,
  open: 0,
  idle: 0,
  busy: 0,
  backoffUntil: 0,
  queued: 0,
  good: 0,
  binding: "unresolved",
};

export function reportSite(site: SiteState, sources: readonly SourceWeight[], now: number): SiteReport {
  let window = 0;
  let open = 0;
  let busy = 0;
  let idle = 0;
  for (const source of sources) window += site.linkOf(source.name).window.size;
  for (const link of site.links.values()) {
    open += link.open;
    busy += link.busy;
    idle += Math.max(0, link.open - link.busy);
  }
  let queued = 0;
  let hasParked = false;
  for (const lane of site.allLanes()) {
    queued += lane.entries;
    hasParked ||= lane.parked && lane.ready.length > 0;
  }
  const backoffUntil = Math.max(0, site.backoff.until);
  const binding = bindingOf(site, { sources, now, hasParked });
  return { window, open, idle, busy, backoffUntil, queued, good: site.good, binding };
}

interface Circumstances {
  readonly sources: readonly SourceWeight[];
  readonly now: number;
  readonly hasParked: boolean;
}

function bindingOf(site: SiteState, { sources, now, hasParked }: Circumstances): Binding | null {
  const isOpen = site.openLink(sources, now) !== undefined;
  if (!isOpen && (site.binding === "unresolved" || site.binding === "backoff")) return site.binding;
  const heldBy = site.budgets?.heldBy() ?? null;
  if (!site.hasWork) return heldBy ?? (hasParked ? "suspended" : null);
  return isOpen ? heldBy : site.binding;
}

/** Its tenant's or sender domain's limits first: they hold for longer than the site's. */
export function bindingOfLane(site: SiteState, { tenant, senderDomain, ...at }: LaneQuery): Binding | null {
  let hasParked = false;
  for (const lane of site.allLanes(tenant)) {
    hasParked ||= lane.parked && lane.ready.length > 0;
    const isAsked = senderDomain === undefined || (lane.lane.senderDomain ?? senderDomain) === senderDomain;
    if (!isAsked || !lane.isHeld || lane.ready.length === 0) continue;
    const budget = lane.budget !== null && lane.ring === lane.budget.held ? lane.budget : lane.parent?.budget;
    if (budget !== undefined && budget !== null && budget.heldBy !== null) return budget.heldBy;
  }
  const isOpen = site.openLink(at.sources, at.now) !== undefined;
  if (!isOpen && (site.hasWork || site.binding === "unresolved" || site.binding === "backoff"))
    return site.binding;
  return hasParked ? "suspended" : null;
}

interface LaneQuery {
  readonly sources: readonly SourceWeight[];
  readonly now: number;
  readonly tenant: string;
  readonly senderDomain: string | undefined;
}

/** By sites, since limits are theirs; one that is crowded waits for this pod. A lane that is parked waits for somebody's word. */
export function countUnserved(
  sites: Iterable<SiteState>,
  { sources, now, table }: { sources: readonly SourceWeight[]; now: number; table: EntryTable },
): Unserved {
  let entries = 0;
  let since = Number.POSITIVE_INFINITY;
  for (const site of sites) {
    const isOpen = site.hasWork && (site.openLink(sources, now) !== undefined || site.binding === "crowded");
    if (!isOpen) continue;
    for (const lane of site.allLanes()) {
      const { ready, parked } = lane;
      if (parked || ready.head === noSlot || lane.isHeld || !mayStart(lane, now)) continue;
      entries += ready.length;
      since = Math.min(since, Math.max(table.receivedAt(ready.head), table.dueOf(ready.head)));
    }
  }
  return { entries, since: entries === 0 ? 0 : since };
}

function mayStart(lane: LaneState, now: number): boolean {
  const { budget, parent } = lane;
  if (budget !== null && !budget.isOpen(now)) return false;
  return parent === null || mayStart(parent, now);
}

/** One tenant's counts are kept; only `oldest` looks, at two heads a lane. */
export function countQueue(tenants: ReadonlyMap<string, TenantState>, table: EntryTable): QueueCounts {
  const counts = new Map<string, TenantCounts>();
  const total = { ready: 0, waiting: 0, suspended: 0, inflight: 0, oldest: 0 };
  for (const tenant of tenants.values()) {
    const { ready, waiting, suspended, inflight } = tenant;
    if (ready + waiting + suspended + inflight === 0) continue;
    let since = Number.POSITIVE_INFINITY;
    for (const lane of tenant.lanes)
      for (const head of [lane.ready.head, lane.away.head])
        if (head !== noSlot) since = Math.min(since, table.receivedAt(head));
    const oldest = since === Number.POSITIVE_INFINITY ? 0 : since;
    counts.set(tenant.id, { ready, waiting, suspended, inflight, oldest });
    total.ready += ready;
    total.waiting += waiting;
    total.suspended += suspended;
    total.inflight += inflight;
    total.oldest = Math.min(total.oldest || oldest, oldest || total.oldest);
  }
  return { tenants: counts, total };
}
