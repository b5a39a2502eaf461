/**
 * CORRIDOR: the taking side of a hand-over: what the former owner of a shard still has under way is left alone, and its
 * connections and spent rates count, until it says that they have ended or is known to be dead. When in doubt a limit is
 * under-used; every wait has a bound.
 */
import { isGuestSite } from "#crds/wire/subject.ts";
import { guestsGoneMs } from "./guest-protocol.ts";
import type { Identity } from "./spool/lease-record.ts";
import type { HandOver } from "./spool/handover.ts";
import type { How } from "./spool/lease-state.ts";
import { ownershipTimes } from "./spool/ownership-times.ts";
import { decodeHandOver, type FormerOwner, type HandedOver } from "./hand-over-record.ts";
import { openAt, spentAt } from "./former-spent.ts";
import type { LeftOver } from "./hand-over.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import type { Entry, Scheduler } from "./schedule/types.ts";

export interface FormerDeps {
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  shardOf(site: string): number;
  sources(): readonly string[];
  isSelf(owner: Identity): boolean;
  isDead(owner: Identity): boolean;
  /** Connections that the owner last reported as open; empty when it never did. */
  lastReported(owner: Identity): LeftOver["open"];
  /** Whether it let other pods' connections in, by its last heartbeat. */
  hadGuests(owner: Identity, shard: number): boolean;
  /** The owner is gone without a word: of what it had under way nobody will know what became of it. */
  vanished(owner: Identity, shard: number): void;
  /** The pods that live, for all we know, this one included: it may be a guest there. One that we have not heard yet, since we were just started, may live as well. */
  all(): readonly Identity[];
  /** Asks a pod what it still has; undefined = no answer. */
  ask(owner: Identity, shard: number): Promise<(LeftOver & { readonly incarnation: string }) | undefined>;
  pump(): void;
}

export type Former = ReturnType<typeof createFormer>;

/** A reply to the final dot takes 10 minutes at most (RFC 5321 4.5.3.2.6): nothing is under way longer than that. */
const inFlightMs = 660_000;
/** decisions.md 13: after an expiry that nobody witnessed, and when a former owner has fallen silent. */
export const connectionsMs = 60_000;
/** Who is frozen for longer than a lease may exceed a limit when it wakes (README, the lease protocol). */
const { ttlMs: frozenMs } = ownershipTimes;
/** While pods are asked, whoever would begin looks again so much later. */
const askingLookMs = 20;
/** Also how long connections that the former owner cut off count at least. */
const pollMs = 500;

interface Caution {
  /** The former owner may have sent as late as then: at each site the rate's own interval passes, however late the site is met. */
  readonly takenAt: number;
  /** So long its connections count; they have a bound of their own, as nobody will ever tell that they are closed. */
  readonly connectionsUntil: number;
  readonly open: LeftOver["open"];
  /** Other pods may go on there until then by what it promised. */
  readonly guestsUntil: number;
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
  /** By shard: its former owner, and those before it that were not through when it handed the shard on. */
  const waiting = new Map<number, readonly Waiting[]>();
  /** Shards whose former owner told nothing, or not all, when it lost them; until they are taken from another one again. */
  const cautious = new Map<number, Caution>();
  /** Shards of which all pods are being asked, by the question. */
  const asking = new Map<number, object>();
  /** How often each shard came from somebody else. */
  const tenures = new Map<number, number>();
  let timer: NodeJS.Timeout | undefined;

  const waitingFor = (shard: number): readonly Waiting[] => waiting.get(shard) ?? [];
  const isWatched = (one: Waiting): boolean => waitingFor(one.shard).includes(one);
  /** It has nothing open at these any more; one of the others may. */
  const forget = (one: Waiting, closed: ReadonlySet<string>): void => {
    one.sites = one.sites.difference(closed);
    const others = waitingFor(one.shard);
    for (const site of closed)
      if (!others.some(({ sites }) => sites.has(site))) scheduler.forgetFormer(site, clock.now());
  };

  const end = (one: Waiting, why: string): void => {
    if (!isWatched(one)) return;
    forget(one, one.sites);
    const left = waitingFor(one.shard).filter((each) => each !== one);
    if (left.length > 0) waiting.set(one.shard, left);
    else waiting.delete(one.shard);
    log.info("former owner is through", { shard: one.shard, pod: one.owner.pod, why });
    deps.pump();
  };

  const look = async (one: Waiting): Promise<void> => {
    if (clock.monotonic() - one.since < pollMs) return;
    if (deps.isDead(one.owner)) return end(one, "it is dead");
    const left = await deps.ask(one.owner, one.shard);
    if (!isWatched(one)) return;
    const now = clock.monotonic();
    if (left === undefined) {
      if (now >= one.until) return end(one, "it is silent for too long");
      if (now - one.heardAt < connectionsMs) return;
      forget(one, one.sites);
      if (one.inFlight.size === 0) end(one, "it is silent");
      return;
    }
    if (left.incarnation !== one.owner.incarnation) return end(one, "it was started again");
    one.heardAt = now;
    forget(one, one.sites.difference(new Set(left.open.map(([site]) => site))));
    one.inFlight = one.inFlight.intersection(new Set(left.inFlight));
    if (one.inFlight.size + one.sites.size === 0) end(one, "nothing is left");
  };

  const watch = (left: Pick<Waiting, "owner" | "shard" | "inFlight" | "sites">): void => {
    if (left.inFlight.size + left.sites.size === 0) return;
    const since = clock.monotonic();
    const one: Waiting = { ...left, since, until: since + inFlightMs, heardAt: since };
    waiting.set(one.shard, [...waitingFor(one.shard), one]);
    timer ??= setInterval(() => {
      for (const each of [...waiting.values()].flat()) void look(each);
      if (waiting.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    }, pollMs);
    timer.unref();
  };

  /**
   * Nobody told what is under way: the last owner may have been waiting for one before it when it died, and what it knew of that went with it.
   * So every pod is asked; nothing begins until all have answered, or have let their time pass: of those the connections count that they last
   * reported, until more is known of them. One that may have been let in a moment ago, before it reported anything, is asked for as long as a
   * lease, unless it answers or is dead. `counted`: its are already.
   */
  const askAll = async (shard: number, counted: Identity, hadGuests: boolean): Promise<void> => {
    const question = {};
    asking.set(shard, question);
    const isAsking = (): boolean => asking.get(shard) === question;
    const askedUntil = clock.monotonic() + frozenMs;
    const answerOf = async (owner: Identity): Promise<Awaited<ReturnType<FormerDeps["ask"]>>> => {
      const left = await deps.ask(owner, shard);
      const isOver =
        !hadGuests ||
        owner.pod === counted.pod ||
        deps.isDead(owner) ||
        clock.monotonic() >= askedUntil ||
        !isAsking();
      if (left !== undefined || isOver) return left;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
      return answerOf(owner);
    };
    const answers = await Promise.all(
      deps
        .all()
        .filter((owner) => !deps.isDead(owner))
        .map(async (owner) => ({ owner, left: await answerOf(owner) })),
    );
    if (!isAsking()) return;
    asking.delete(shard);
    const found = answers.flatMap(({ owner, left }): (LeftOver & { readonly owner: Identity })[] => {
      if (left !== undefined) return left.incarnation === owner.incarnation ? [{ ...left, owner }] : [];
      if (owner.pod === counted.pod || deps.isDead(owner)) return [];
      const open = deps.lastReported(owner).filter(([site]) => deps.shardOf(site) === shard);
      return [{ owner, inFlight: [], open }];
    });
    const until = clock.now() + inFlightMs;
    for (const site of openAt(found.flatMap(({ open }) => open))) scheduler.restore(site, until, clock.now());
    for (const { owner, inFlight, open } of found)
      watch({ owner, shard, inFlight: new Set(inFlight), sites: new Set(open.map(([site]) => site)) });
    deps.pump();
  };

  /** Connections that it reported when it was last heard may still be there, also when the shard is handed on meanwhile. */
  const beCautious = (site: string, { takenAt, connectionsUntil, open, guestsUntil }: Caution): void => {
    const now = clock.now();
    const reported = new Map<string, number>();
    for (const [at, source, count] of now < connectionsUntil ? open : [])
      if (at === site) reported.set(source, (reported.get(source) ?? 0) + count);
    const spent = spentAt(site, deps.sources(), {
      at: takenAt,
      until: connectionsUntil,
      reported,
      pausedUntil: guestsUntil,
    });
    scheduler.restore(spent, 0, now);
  };

  const caution = (shard: number, one: Caution): void => {
    cautious.set(shard, one);
    const sites = new Set([...scheduler.sites(), ...one.open.map(([site]) => site)]);
    for (const site of sites) if (deps.shardOf(site) === shard) beCautious(site, one);
  };

  return {
    /** A shard is ours: called before its first entry is indexed. Answers what its former owner told, if it did. */
    owned(shard: number, handOver: HandOver | null, how: How): HandedOver | undefined {
      const now = clock.now();
      // Lost for a moment, and nobody had it in between: what is known of those before stands.
      if (how === "resumed") return undefined;
      const isFromSelf = handOver !== null && deps.isSelf(handOver);
      if (!isFromSelf) tenures.set(shard, (tenures.get(shard) ?? 0) + 1);
      waiting.delete(shard);
      cautious.delete(shard);
      asking.delete(shard);
      if (handOver === null) return undefined;
      const told = decodeHandOver(handOver.record, now);
      if (told === undefined) {
        if (handOver.record !== null) log.error("hand-over not readable", { shard, from: handOver.pod });
        if (how === "expired" || how === "witnessed") deps.vanished(handOver, shard);
        // Alive for all we know: its connections count. A dead one has none.
        const open = how === "expired" && !deps.isDead(handOver) ? deps.lastReported(handOver) : [];
        const hadGuests = deps.hadGuests(handOver, shard);
        const guestsUntil = hadGuests ? now + guestsGoneMs : 0;
        const known = { takenAt: now, connectionsUntil: now + connectionsMs, open, guestsUntil };
        caution(shard, known);
        void askAll(shard, handOver, hadGuests);
        return undefined;
      }
      const openAt = told.sites
        .filter(({ sources }) => sources.some((source) => source.open > 0))
        .map(({ site }) => site);
      // What we told ourselves we know better, and what we have under way ourselves must not wait for its end.
      if (!isFromSelf) for (const site of told.sites) scheduler.restore(site, now + inFlightMs, now);
      if (told.untoldSince !== undefined)
        caution(shard, { takenAt: told.untoldSince, connectionsUntil: now, open: [], guestsUntil: 0 });
      const sites = openAt.filter((site) => !isGuestSite(site));
      const { pod, incarnation } = handOver;
      for (const one of [{ pod, incarnation, inFlight: told.inFlight, sites }, ...(told.former ?? [])]) {
        const { pod, incarnation, inFlight, sites } = deps.isSelf(one) ? asGuest(one) : one;
        watch({ owner: { pod, incarnation }, shard, inFlight: new Set(inFlight), sites: new Set(sites) });
      }
      return told;
    },
    /** A site is met that the scheduler does not know (any more). */
    met(site: string): void {
      const caution = cautious.get(deps.shardOf(site));
      if (caution !== undefined) beCautious(site, caution);
    },
    /** Somebody else may have sent at the site as late as `at`, ms since 1970. */
    spent(site: string, at: number): void {
      scheduler.restore(
        spentAt(site, deps.sources(), { at, until: at, reported: new Map(), pausedUntil: 0 }),
        0,
        clock.now(),
      );
    },
    /** At sites of the shard that were not met since, somebody else may have sent as late as then; undefined = at none. */
    untoldSince: (shard: number): number | undefined => cautious.get(shard)?.takenAt,
    /** False while the former owner still has it under way. */
    mayBegin: ({ shard, seq }: Pick<Entry, "shard" | "seq">): boolean =>
      !waitingFor(shard).some(({ inFlight }) => inFlight.has(seq)),
    /** A number that changes whenever somebody else has had the shard meanwhile. */
    tenureOf: (shard: number): number => tenures.get(shard) ?? 0,
    /** Shards in which other pods may still go on by what a dead owner promised. */
    guestShards: (): number[] =>
      [...cautious].flatMap(([shard, { guestsUntil }]) => (guestsUntil > clock.now() ? [shard] : [])),
    /** While the others are being asked: so much later it may be known. 0 = it is. */
    askingMs: (shard: number): number => (asking.has(shard) ? askingLookMs : 0),
    /** Those that are not through with the shard, for the next owner. */
    leftBy: (shard: number): FormerOwner[] =>
      waitingFor(shard).map(({ owner: { pod, incarnation }, inFlight, sites }) => ({
        pod,
        incarnation,
        inFlight: [...inFlight],
        sites: [...sites],
      })),
    stop(): void {
      clearInterval(timer);
      waiting.clear();
      asking.clear();
    },
  };
}

/** What of its own a pod has to wait for: as a guest it was let in by another one. */
function asGuest({ sites, ...one }: FormerOwner): FormerOwner {
  return { ...one, inFlight: [], sites: sites.filter(isGuestSite) };
}
