/**
 * CORRIDOR: the leaving side of a shard's hand-over (decisions.md 12): nothing new begins, idle connections are closed, what
 * runs gets a moment, what is then before its dot is cut off; the successor is told what is left. Bounded; never rejects.
 */
import type { Clock } from "./runtime/clock.ts";
import type { Entry, Scheduler, SiteHandover, SpentBudget, SpentBudgets } from "./schedule/types.ts";
import { encodeHandOver, type FormerOwner, type HandOverRecord, type Suspicion } from "./hand-over-record.ts";

export interface LeavingDeps {
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  /** Sequences under way, parents being split included. */
  inFlight(shard: number): ReadonlySet<number>;
  shardOf(site: string): number;
  /** Stops reading the shard and forgets its index; what is in flight goes on. */
  retire(shard: number): void;
  closeIdle(site: string): void;
  /** What the owner before left untold, and nobody met since. */
  untoldSince(shard: number): number | undefined;
  /** Owners before us that are not through, as far as we were told, and guests. */
  former(shard: number): readonly FormerOwner[];
  /** Of the shard's entries, since an owner of it died. */
  suspicion(shard: number): Suspicion | undefined;
  /** Cuts off what is before its dot. */
  abandon(shard: number): void;
}

export interface LeftOver {
  /** Sequences of the shard that are still under way here. */
  readonly inFlight: readonly number[];
  /** Connections still open here, by site and source. */
  readonly open: readonly (readonly [site: string, source: string, count: number])[];
}

export type Leaving = ReturnType<typeof createLeaving>;

/** What runs has so long to end by itself; a hand-over takes less than a second. */
const graceMs = 500;
/** What was cut off, and goodbyes, have so long to be counted. */
const endMs = 250;
const pollMs = 5;

export function createLeaving(deps: LeavingDeps) {
  const { scheduler, clock } = deps;
  /** Nothing new begins on these; on the frozen among them no MAIL and no dot is sent any more. */
  const leaving = new Set<number>();
  const frozen = new Set<number>();
  /** What the last hand-over of a shard told to be under way. */
  const awaited = new Map<number, ReadonlySet<number>>();

  const sitesOf = (shard: number): string[] =>
    [...scheduler.sites()].filter((site) => deps.shardOf(site) === shard);
  const openAt = (site: string): LeftOver["open"] =>
    (scheduler.snapshot(site)?.sources ?? []).flatMap(({ source, open }) =>
      open > 0 ? [[site, source, open] as const] : [],
    );
  const toldOf = (site: string): SiteHandover[] => {
    const told = scheduler.handOver(site, clock.now());
    return told === undefined ? [] : [told];
  };
  const closeIdle = (shard: number): void => {
    for (const site of sitesOf(shard)) deps.closeIdle(site);
  };
  const leftOver = (shard: number): LeftOver => ({
    inFlight: [...deps.inFlight(shard)],
    open: sitesOf(shard).flatMap(openAt),
  });

  return {
    mayBegin: ({ shard }: Pick<Entry, "shard">): boolean => !leaving.has(shard),
    isLeaving: (shard: number): boolean => leaving.has(shard),
    isFrozen: (shard: number): boolean => frozen.has(shard),
    leftOver,
    /** Says goodbye on every idle connection of the shard's sites. */
    closeIdle,
    /** Resolves to what the successor has to know. */
    async quiesce(shard: number): Promise<HandOverRecord> {
      leaving.add(shard);
      deps.retire(shard);
      closeIdle(shard);
      await settled(() => deps.inFlight(shard).size === 0, graceMs);
      frozen.add(shard);
      const isCut = deps.inFlight(shard).size > 0;
      const beforeCut = isCut ? sitesOf(shard).flatMap(toldOf) : [];
      deps.abandon(shard);
      closeIdle(shard);
      await settled(() => {
        const left = leftOver(shard);
        return left.inFlight.length + left.open.length === 0;
      }, endMs);
      const now = clock.now();
      const sites = sitesOf(shard)
        .flatMap(toldOf)
        .map((site) =>
          withOpen(
            site,
            beforeCut.find((before) => before.site === site.site),
          ),
        );
      const inFlight = [...deps.inFlight(shard)];
      const untoldSince = deps.untoldSince(shard);
      const former = deps.former(shard);
      const suspicion = deps.suspicion(shard);
      awaited.set(shard, new Set(inFlight));
      return encodeHandOver({ inFlight, sites, untoldSince, former, suspicion }, now);
    },
    /** The shard is gone, or ours anew; `isHandedOver` = its next owner knows what was told, and waits for that. */
    over(shard: number, isHandedOver = false): void {
      leaving.delete(shard);
      frozen.delete(shard);
      if (!isHandedOver) awaited.delete(shard);
    },
    /** The shard's next owner leaves the entry alone until we are through with it. */
    isAwaited: (shard: number, seq: number): boolean => awaited.get(shard)?.has(seq) === true,
  };
}

/** What was cut off still counts: its peer learns of that when it next reads, which may be after the successor connects. */
function withOpen(site: SiteHandover, before: SiteHandover | undefined): SiteHandover {
  if (before === undefined) return site;
  const openOf = (name: string): number => before.sources.find(({ source }) => source === name)?.open ?? 0;
  const sources = site.sources.map((spent) => ({
    ...spent,
    open: Math.max(spent.open, openOf(spent.source)),
  }));
  return { ...site, sources, ...withBusy(site.budgets, before.budgets) };
}

/** Of tenants and sender domains too. */
function withBusy(
  after: SpentBudgets | undefined,
  before: SpentBudgets | undefined,
): { readonly budgets?: SpentBudgets } {
  if (after === undefined || before === undefined) return {};
  const keyOf = ({ kind, name }: SpentBudget): string => `${kind} ${name}`;
  const told = new Map(after.told.map((one) => [keyOf(one), one]));
  for (const one of before.told) {
    const now = told.get(keyOf(one)) ?? one;
    told.set(keyOf(one), { ...now, busy: Math.max(now.busy, one.busy) });
  }
  return { budgets: { ...after, told: [...told.values()] } };
}

/** Resolves when `isDone`, or after `boundMs`: whichever comes first. */
export async function settled(isDone: () => boolean, boundMs: number): Promise<void> {
  const until = performance.now() + boundMs;
  while (!isDone() && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
