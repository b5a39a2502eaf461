/** CORRIDOR: what `top` shows: tenants, sites and sources of one pod, and those of all pods put together. */
import { isOfMessages } from "#crds/wire/selection.ts";
import { isGuestSite } from "#crds/wire/subject.ts";
import type { Pod } from "./pod.ts";
import { createRates } from "./rates.ts";
import type { TenantCounts } from "./schedule/types.ts";
import type { Suspension } from "./spool/suspensions.ts";
import type { Suspending } from "./suspend.ts";

const sitesShown = 50;
/** Of one pod's answer, which has room for so much (`crds/wire/peer.ts`). */
const tenantsShown = { rows: 2000, bytes: 360 * 1024 };
const suspensionsShown = { rows: 500, bytes: 64 * 1024 };

export interface Top {
  /** The fullest of each pod. */
  readonly tenants: readonly TenantRow[];
  /** The fullest. */
  readonly sites: readonly SiteRow[];
  /** Absent from pods of a release before. */
  readonly sources?: readonly SourceRow[];
  /** Those of single messages and domains last, the newest before the older ones. */
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
  /** Absent from pods of a release before. */
  readonly sentPerSecond?: number;
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
      const queued = pod.scheduler.counts().tenants;
      // Mail that leaves at once is queued nowhere when one looks.
      const names = new Set([...queued.keys(), ...rates.tenants()]);
      const tenants = [...names].map((tenant) => ({
        tenant,
        ...queuedOf(queued.get(tenant), now),
        ...rates.of(tenant),
      }));
      const known = [...pod.scheduler.sites()].filter((site) => !isGuestSite(site));
      const sites = known.map((site) => ({
        site,
        ...pod.scheduler.siteState(site),
        ...rates.ofSite(site),
      }));
      const sources = pod.config().manifest.egress.sources.map(({ name }) => ({
        source: name,
        ...openOf(pod, known, name),
        ...rates.ofSource(name),
      }));
      return {
        tenants: firstOf(tenants.toSorted(byFullness), tenantsShown),
        sites: fullest(sites),
        sources,
        suspensions: firstOf(suspending.list().toSorted(byReach), suspensionsShown),
      };
    },
    stop: rates.stop,
  };
}

function byFullness(a: TenantRow, b: TenantRow): number {
  const queued = ({ ready, waiting, suspended }: TenantRow): number => ready + waiting + suspended;
  return queued(b) - queued(a) || b.receivedPerSecond - a.receivedPerSecond;
}

function byReach(a: Suspension, b: Suspension): number {
  return Number(isOfMessages(a)) - Number(isOfMessages(b)) || b.at - a.at;
}

function firstOf<Row>(
  all: readonly Row[],
  room: { readonly rows: number; readonly bytes: number },
): readonly Row[] {
  const rows = all.slice(0, room.rows);
  let { bytes } = room;
  const end = rows.findIndex((row) => (bytes -= Buffer.byteLength(JSON.stringify(row)) + 1) < 0);
  return end < 0 ? rows : rows.slice(0, end);
}

function queuedOf(
  counts: TenantCounts | undefined,
  now: number,
): Pick<TenantRow, "ready" | "waiting" | "suspended" | "oldestSeconds"> {
  if (counts === undefined) return { ready: 0, waiting: 0, suspended: 0, oldestSeconds: null };
  const { ready, inflight, waiting, suspended, oldest } = counts;
  return {
    ready: ready + inflight,
    waiting,
    suspended,
    oldestSeconds: oldest > 0 ? (now - oldest) / 1000 : null,
  };
}

function openOf(pod: Pod, sites: readonly string[], name: string): { open: number; sites: number } {
  const open = sites.map(
    (site) => pod.scheduler.snapshot(site)?.sources.find(({ source }) => source === name)?.open ?? 0,
  );
  return { open: sumOf(open), sites: open.filter((count) => count > 0).length };
}

export function mergeTop(answers: readonly Top[]): Top {
  const tenants = Map.groupBy(
    answers.flatMap((answer) => answer.tenants),
    ({ tenant }) => tenant,
  );
  const sources = Map.groupBy(
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
    sites: fullest(
      [
        ...Map.groupBy(
          answers.flatMap((answer) => answer.sites),
          ({ site }) => site,
        ).values(),
      ].map(ownersOf),
    ),
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

/** A site has one owner: a pod that had it before may still know it, with connections that are about to end. */
function ownersOf(rows: readonly SiteRow[]): SiteRow {
  const [owner, ...former] = rows.toSorted((a, b) => b.queued - a.queued || b.open - a.open);
  if (owner === undefined)
    throw new RangeError("Cannot merge the rows of a site: expected one or more, got none");
  return {
    ...owner,
    open: owner.open + sumOf(former.map(({ open }) => open)),
    sentPerSecond: sumOf(rows.map(({ sentPerSecond = 0 }) => sentPerSecond)),
  };
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
