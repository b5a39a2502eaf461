/**
 * CORRIDOR: the taking side of a hand-over: what the former owner of a shard still has under way is left alone, and its
 * connections and spent rates count, until it says that they have ended or is known to be dead. When in doubt a limit is
 * under-used; every wait has a bound.
 */
import type { Identity } from "./spool/lease-record.ts";
import type { HandOver } from "./spool/handover.ts";
import type { How } from "./spool/lease-state.ts";
import { decodeHandOver } from "./hand-over-record.ts";
import type { LeftOver } from "./hand-over.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import type { Entry, Scheduler, SiteHandover } from "./schedule/types.ts";

export interface FormerDeps {
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  shardOf(site: string): number;
  sources(): readonly string[];
  isDead(owner: Identity): boolean;
  /** Connections that the owner last reported as open; empty when it never did. */
  lastReported(owner: Identity): LeftOver["open"];
  /** Asks the former owner what it still has; undefined = no answer. */
  ask(owner: Identity, shard: number): Promise<(LeftOver & { readonly incarnation: string }) | undefined>;
  pump(): void;
}

export type Former = ReturnType<typeof createFormer>;

/** A reply to the final dot takes 10 minutes at most (RFC 5321 4.5.3.2.6): nothing is under way longer than that. */
const inFlightMs = 660_000;
/** decisions.md 13: after an expiry that nobody witnessed, and when a former owner has fallen silent. */
const connectionsMs = 60_000;
/** Also how long connections that the former owner cut off count at least. */
const pollMs = 500;

interface Caution {
  /** The former owner may have sent as late as then: at each site the rate's own interval passes, however late the site is met. */
  readonly takenAt: number;
  /** So long its connections count; they have a bound of their own, as nobody will ever tell that they are closed. */
  readonly connectionsUntil: number;
  readonly open: LeftOver["open"];
}

interface Waiting {
  readonly owner: Identity;
  readonly shard: number;
  inFlight: ReadonlySet<number>;
  sites: ReadonlySet<string>;
  /** On the monotonic clock. */
  readonly since: number;
  readonly until: number;
  heardAt: number;
}

export function createFormer(deps: FormerDeps) {
  const { scheduler, clock, log } = deps;
  const waiting = new Map<number, Waiting>();
  /** Shards whose former owner told nothing, or not all, when it lost them; as long as they are ours. */
  const cautious = new Map<number, Caution>();
  let timer: NodeJS.Timeout | undefined;

  const forget = (sites: Iterable<string>): void => {
    for (const site of sites) scheduler.forgetFormer(site, clock.now());
  };

  const end = (one: Waiting, why: string): void => {
    if (waiting.get(one.shard) !== one) return;
    waiting.delete(one.shard);
    forget(one.sites);
    log.info("former owner is through", { shard: one.shard, pod: one.owner.pod, why });
    deps.pump();
  };

  const look = async (one: Waiting): Promise<void> => {
    if (clock.monotonic() - one.since < pollMs) return;
    if (deps.isDead(one.owner)) return end(one, "it is dead");
    const left = await deps.ask(one.owner, one.shard);
    if (waiting.get(one.shard) !== one) return;
    const now = clock.monotonic();
    if (left === undefined) {
      if (now >= one.until) return end(one, "it is silent for too long");
      if (now - one.heardAt < connectionsMs) return;
      forget(one.sites);
      one.sites = new Set();
      return;
    }
    if (left.incarnation !== one.owner.incarnation) return end(one, "it was started again");
    one.heardAt = now;
    const open = new Set(left.open.map(([site]) => site));
    forget([...one.sites].filter((site) => !open.has(site)));
    one.sites = new Set([...one.sites].filter((site) => open.has(site)));
    const under = new Set(left.inFlight);
    one.inFlight = new Set([...one.inFlight].filter((seq) => under.has(seq)));
    if (one.inFlight.size + one.sites.size === 0) end(one, "nothing is left");
  };

  const watch = (one: Waiting): void => {
    if (one.inFlight.size + one.sites.size === 0) return;
    waiting.set(one.shard, one);
    timer ??= setInterval(() => {
      for (const each of waiting.values()) void look(each);
      if (waiting.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    }, pollMs);
    timer.unref();
  };

  /** Connections that it reported when it was last heard may still be there, also when the shard is handed on meanwhile. */
  const beCautious = (site: string, { takenAt, connectionsUntil, open }: Caution): void => {
    const now = clock.now();
    const counting = now < connectionsUntil ? open : [];
    const reported = new Map(
      counting.flatMap(([at, source, count]) => (at === site ? [[source, count]] : [])),
    );
    const spent = spentAt(site, deps.sources(), { at: takenAt, until: connectionsUntil, reported });
    scheduler.restore(spent, 0, now);
  };

  const caution = (shard: number, one: Caution): void => {
    cautious.set(shard, one);
    const sites = new Set([...scheduler.sites(), ...one.open.map(([site]) => site)]);
    for (const site of sites) if (deps.shardOf(site) === shard) beCautious(site, one);
  };

  return {
    /** A shard is ours: called before its first entry is indexed. */
    owned(shard: number, handOver: HandOver | null, how: How): void {
      const now = clock.now();
      const heardAt = clock.monotonic();
      waiting.delete(shard);
      cautious.delete(shard);
      if (handOver === null || how === "resumed") return;
      const told = decodeHandOver(handOver.record, now);
      if (told === undefined) {
        if (handOver.record !== null) log.error("hand-over not readable", { shard, from: handOver.pod });
        // Alive for all we know: its connections count. A dead one has none.
        const open = how === "expired" && !deps.isDead(handOver) ? deps.lastReported(handOver) : [];
        caution(shard, { takenAt: now, connectionsUntil: now + connectionsMs, open });
        return;
      }
      const open = told.sites.filter(({ sources }) => sources.some((source) => source.open > 0));
      for (const site of told.sites) scheduler.restore(site, now + inFlightMs, now);
      if (told.untoldSince !== undefined)
        caution(shard, { takenAt: told.untoldSince, connectionsUntil: now, open: [] });
      watch({
        owner: handOver,
        shard,
        inFlight: new Set(told.inFlight),
        sites: new Set(open.map(({ site }) => site)),
        since: heardAt,
        until: heardAt + inFlightMs,
        heardAt,
      });
    },
    lost(shard: number): void {
      waiting.delete(shard);
      cautious.delete(shard);
    },
    /** A site is met that the scheduler does not know (any more). */
    met(site: string): void {
      const caution = cautious.get(deps.shardOf(site));
      if (caution !== undefined) beCautious(site, caution);
    },
    /** At sites of the shard that were not met since, somebody else may have sent as late as then; undefined = at none. */
    untoldSince: (shard: number): number | undefined => cautious.get(shard)?.takenAt,
    /** False while the former owner still has it under way. */
    mayBegin: ({ shard, seq }: Pick<Entry, "shard" | "seq">): boolean =>
      waiting.get(shard)?.inFlight.has(seq) !== true,
    stop(): void {
      clearInterval(timer);
      waiting.clear();
    },
  };
}

function spentAt(
  site: string,
  sources: readonly string[],
  { at, until, reported }: { at: number; until: number; reported: ReadonlyMap<string, number> },
): SiteHandover {
  return {
    site,
    backoffUntil: 0,
    sources: [...new Set([...sources, ...reported.keys()])].map((source) => ({
      source,
      open: 0,
      lingering: reported.get(source) ?? 0,
      lingeringUntil: until,
      pausedUntil: 0,
      nextMessageAt: 0,
      nextConnectionAt: 0,
      spentAt: at,
    })),
  };
}
