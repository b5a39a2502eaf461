/** What one owner of a shard tells the next about a site's connections and spent rates (decisions.md 12). Pure. */
import type { SiteState } from "./site-state.ts";
import type { SiteHandover } from "./types.ts";

export function handOver(site: SiteState): SiteHandover {
  const sources = [...site.links.values()].map((link) => ({
    source: link.source,
    open: link.open,
    ...(link.former > 0 ? { former: link.former } : {}),
    ...(link.lingering > 0 ? { lingering: link.lingering, lingeringUntil: link.lingeringUntil } : {}),
    window: link.window.size,
    pausedUntil: link.pause.until,
    nextMessageAt: link.messages.nextForOthers,
    nextConnectionAt: link.connects.nextAt,
  }));
  return { site: site.id, backoffUntil: site.backoff.until, sources };
}

/** Takes the stricter of both sides' knowledge: a record that comes late must not loosen anything. */
export function takeOver(site: SiteState, handover: SiteHandover, until: number): void {
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
}
