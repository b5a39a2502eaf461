/** CORRIDOR: what `top` shows: tenants, sites and sources of one pod, and those of all pods put together. */
import type { Pod } from "./pod.ts";
import { createRates } from "./rates.ts";
import type { Suspension } from "./spool/suspensions.ts";
import type { Suspending } from "./suspend.ts";

const sitesShown = 50;

export interface Top {
  readonly tenants: readonly TenantRow[];
  /** Each of one pod, as it has one owner; the fullest. */
  readonly sites: readonly SiteRow[];
  /** Absent from pods of a release before. */
  readonly sources?: readonly SourceRow[];
  readonly suspensions: readonly Suspension[];
}

interface TenantRow {
  readonly tenant: string;
  readonly ready: number;
  readonly waiting: number;
  readonly suspended: number;
  readonly oldestSeconds: number | null;
  readonly receivedPerSecond: number;
  readonly deliveredPerSecond: number;
}

interface SiteRow {
  readonly site: string;
  readonly queued: number;
  readonly open: number;
  readonly window: number;
  readonly binding: string | null;
  readonly backoffUntil: number;
}

interface SourceRow {
  readonly source: string;
  /** Open connections, and the sites that they lead to. */
  readonly open: number;
  readonly sites: number;
  readonly attemptsPerSecond: number;
  readonly deliveredPerSecond: number;
}

export function createTop(pod: Pod, suspending: Pick<Suspending, "list">): { here(): Top; stop(): void } {
  const rates = createRates(pod);
  return {
    here() {
      const now = pod.clock.now();
      const tenants = [...pod.scheduler.counts().tenants].map(([tenant, counts]) => ({
        tenant,
        ready: counts.ready + counts.inflight,
        waiting: counts.waiting,
        suspended: counts.suspended,
        oldestSeconds: counts.oldest > 0 ? (now - counts.oldest) / 1000 : null,
        ...rates.of(tenant),
      }));
      const known = [...pod.scheduler.sites()];
      const sites = known.map((site) => ({ site, ...pod.scheduler.siteState(site) }));
      const sources = pod.config().manifest.egress.sources.map(({ name }) => ({
        source: name,
        ...openOf(pod, known, name),
        ...rates.ofSource(name),
      }));
      return { tenants, sites: fullest(sites), sources, suspensions: suspending.list() };
    },
    stop: rates.stop,
  };
}

function openOf(pod: Pod, sites: readonly string[], name: string): { open: number; sites: number } {
  const open = sites.map(
    (site) => pod.scheduler.snapshot(site)?.sources.find(({ source }) => source === name)?.open ?? 0,
  );
  return { open: sumOf(open), sites: open.filter((count) => count > 0).length };
}

export function mergeTop(answers: readonly Top[]): Top {
  const tenants = grouped(
    answers.flatMap((answer) => answer.tenants),
    ({ tenant }) => tenant,
  );
  const sources = grouped(
    answers.flatMap((answer) => answer.sources ?? []),
    ({ source }) => source,
  );
  // Every pod knows all of them; the one that knows most has seen the newest.
  const [suspensions = []] = answers
    .map((answer) => answer.suspensions)
    .toSorted((a, b) => b.length - a.length);
  return {
    tenants: [...tenants].map(([tenant, rows]) => ({
      tenant,
      ready: sumOf(rows.map(({ ready }) => ready)),
      waiting: sumOf(rows.map(({ waiting }) => waiting)),
      suspended: sumOf(rows.map(({ suspended }) => suspended)),
      oldestSeconds: Math.max(...rows.map(({ oldestSeconds }) => oldestSeconds ?? 0)) || null,
      receivedPerSecond: sumOf(rows.map(({ receivedPerSecond }) => receivedPerSecond)),
      deliveredPerSecond: sumOf(rows.map(({ deliveredPerSecond }) => deliveredPerSecond)),
    })),
    sites: fullest(answers.flatMap((answer) => answer.sites)),
    sources: [...sources].map(([source, rows]) => ({
      source,
      open: sumOf(rows.map(({ open }) => open)),
      sites: sumOf(rows.map(({ sites }) => sites)),
      attemptsPerSecond: sumOf(rows.map(({ attemptsPerSecond }) => attemptsPerSecond)),
      deliveredPerSecond: sumOf(rows.map(({ deliveredPerSecond }) => deliveredPerSecond)),
    })),
    suspensions,
  };
}

function fullest<Row extends SiteRow>(sites: readonly Row[]): readonly Row[] {
  return sites.toSorted((a, b) => b.queued - a.queued).slice(0, sitesShown);
}

function grouped<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Map<string, Row[]> {
  return Map.groupBy(rows, keyOf);
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
