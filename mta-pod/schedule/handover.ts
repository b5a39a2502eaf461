/** What one owner of a shard tells the next about a site's connections and spent rates (decisions.md 12). Pure. */
import { SiteBudgets } from "./site-budgets.ts";
import type { SiteState } from "./site-state.ts";
import type { SiteHandover, SpentBudget, SpentBudgets } from "./types.ts";

export function handOver(site: SiteState): SiteHandover {
  const sources = [...site.links.values()].map((link) => ({
    source: link.source,
    open: link.open,
    ...(link.former > 0 ? { former: link.former } : {}),
    ...(link.lingering > 0 ? { lingering: link.lingering, lingeringUntil: link.lingeringUntil } : {}),
    window: link.window.size,
    pausedUntil: link.pause.until,
    nextMessageAt: link.nextMessageForSuccessor,
    nextConnectionAt: link.connects.nextAt,
  }));
  return { site: site.id, backoffUntil: site.backoff.until, sources };
}

/** Of tenants and sender domains: those that have nothing spent are left out. */
export function spentBudgets(site: SiteState, now: number): SpentBudgets {
  const told: SpentBudget[] = [];
  for (const budget of site.budgets?.all() ?? [])
    if (budget.isSpent(now)) {
      const { kind, name, busy, messages } = budget;
      const nextMessageAt = messages.nextForSuccessor;
      told.push({ kind, name, busy: busy + budget.formerAt(now), nextMessageAt });
    }
  return {
    told,
    ...(site.othersSpentAt > 0 ? { othersSpentAt: site.othersSpentAt } : {}),
    ...(site.anybodys > 0 && site.anybodysUntil > now ? { anybodys: site.anybodys } : {}),
  };
}

interface When {
  /** So long the former owner's connections count. */
  readonly until: number;
  readonly now: number;
}

/** Takes the stricter of both sides' knowledge: a record that comes late must not loosen anything. */
export function takeOver(site: SiteState, handover: SiteHandover, { until, now }: When): void {
  site.backoff.until = Math.max(site.backoff.until, handover.backoffUntil);
  for (const spent of handover.sources) {
    const link = site.linkOf(spent.source);
    // Who told nothing takes back nothing of what another told.
    if (spent.spentAt === undefined) {
      link.former = Math.max(0, spent.open);
      link.formerUntil = until;
    }
    link.lingering = Math.max(link.lingering, spent.lingering ?? 0);
    link.lingeringUntil = Math.max(link.lingeringUntil, spent.lingeringUntil ?? 0);
    if (spent.window !== undefined) link.window.restart(spent.window);
    link.pause.until = Math.max(link.pause.until, spent.pausedUntil);
    link.messages.waitUntil(spent.nextMessageAt);
    link.connects.nextAt = Math.max(link.connects.nextAt, spent.nextConnectionAt);
    if (spent.spentAt === undefined) continue;
    link.messages.spent(spent.spentAt);
    link.connects.spent(spent.spentAt);
  }
  takeOverBudgets(site, handover, { until, now });
}

function takeOverBudgets(site: SiteState, { budgets, sources }: SiteHandover, { until, now }: When): void {
  if (budgets === undefined) {
    const silentSince = sources.flatMap(({ spentAt }) => spentAt ?? []);
    // A former release, which does not tell whose mail it sends: anybody's, until now.
    const isSilent = silentSince.length > 0;
    othersSpent(site, isSilent ? Math.max(...silentSince) : now);
    if (!isSilent) anybodysOpen(site, openOf(sources), until);
    return;
  }
  if (budgets.othersSpentAt !== undefined) othersSpent(site, budgets.othersSpentAt);
  anybodysOpen(site, budgets.anybodys ?? 0, until);
  if (budgets.told.length === 0) return;
  site.budgets ??= new SiteBudgets(site);
  // Once nothing is open nobody will tell that it is closed.
  const open = openOf(sources);
  for (const spent of budgets.told) site.budgets.tell({ ...spent, busy: Math.min(spent.busy, open) }, until);
}

function openOf(sources: SiteHandover["sources"]): number {
  return sources.reduce((sum, { open, former = 0 }) => sum + open + former, 0);
}

function othersSpent(site: SiteState, at: number): void {
  site.othersSpentAt = Math.max(site.othersSpentAt, at);
  for (const budget of site.budgets?.all() ?? []) budget.messages.spent(site.othersSpentAt);
}

function anybodysOpen(site: SiteState, open: number, until: number): void {
  site.anybodys = Math.max(0, open);
  site.anybodysUntil = until;
}
