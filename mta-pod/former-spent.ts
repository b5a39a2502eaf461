/** CORRIDOR: what is known of a shard's former owners, as the scheduler takes it. Pure. */
import type { LeftOver } from "./hand-over.ts";
import type { SiteHandover } from "./schedule/types.ts";

/** Of a source of which no more is known. */
const nothingElse = { pausedUntil: 0, nextMessageAt: 0, nextConnectionAt: 0 } as const;

/** Connections that several pods have open, by site. */
export function openAt(open: LeftOver["open"]): SiteHandover[] {
  const counts = new Map<string, Map<string, number>>();
  for (const [site, source, count] of open) {
    const sources = counts.get(site) ?? new Map<string, number>();
    counts.set(site, sources.set(source, (sources.get(source) ?? 0) + count));
  }
  return [...counts].map(([site, sources]) => ({
    site,
    backoffUntil: 0,
    sources: [...sources].map(([source, count]) => ({ source, open: count, ...nothingElse })),
  }));
}

interface Spent {
  /** The former owner may have sent as late as then. */
  readonly at: number;
  readonly until: number;
  readonly reported: ReadonlyMap<string, number>;
  readonly pausedUntil: number;
}

/** What is believed of sources of which nobody told anything. */
export function spentAt(
  site: string,
  sources: readonly string[],
  { at, until, reported, pausedUntil }: Spent,
): SiteHandover {
  return {
    site,
    backoffUntil: 0,
    sources: [...new Set([...sources, ...reported.keys()])].map((source) => ({
      source,
      open: 0,
      lingering: reported.get(source) ?? 0,
      lingeringUntil: until,
      ...nothingElse,
      pausedUntil,
      spentAt: at,
    })),
  };
}
