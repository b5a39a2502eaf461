/**
 * Whether the sites' limits hold, judged where the mail arrives: connections at once, and final dots in any half-open second, without any
 * allowance. A dot is read some time after it came, and when this very process is late that can be long: too many within a second
 * is a violation when they are too many whenever they can have come, else "not sure". How much of that there may be is bounded.
 * The one exception (decisions.md 13): the connections of a process that is frozen for longer than its leases stay open while
 * another owns its sites. They are counted apart, and no others. One that has not said yet whose it is, and is as old as the
 * freeze, is the frozen process's: anybody else would have spoken.
 */
import type { SinkWatch, Visit } from "#e2e/kit/sink.ts";

export interface SiteLimit {
  readonly name: string;
  readonly connections: number;
  readonly perSecond?: number;
}

export interface Doubtful {
  /** Connections and messages that were one too many as they were read, and perhaps not as they came. */
  readonly count: number;
  /** Connections and messages that were judged. */
  readonly of: number;
}

export interface LimitWatch extends SinkWatch {
  /** One line each. */
  violations(): readonly string[];
  doubtful(): Doubtful;
  /** Connections beyond a limit that were a frozen process's. */
  excused(): number;
  /** The process stands still from now on. */
  frozen(pid: number): void;
  /** It goes on, and closes what is not its any more. */
  thawed(pid: number): void;
  /** As read, without any thought of lateness: the most connections at once, the most messages in a second. */
  most(place: number): { readonly connections: number; readonly perSecond: number };
  stop(): void;
}

/** Time for the watch: milliseconds. */
export interface WatchClock {
  now(): number;
  /** @returns how to stop it */
  every(ms: number, tick: () => void): () => void;
  /** Once all that the kernel has told in this turn of the event loop is read. */
  afterTurn(look: () => void): void;
}

const realClock: WatchClock = {
  now: () => performance.now(),
  every(ms, tick) {
    const timer = setInterval(tick, ms).unref();
    return () => clearInterval(timer);
  },
  afterTurn: (look) => void setImmediate(look),
};

const lookMs = 2;
const windowMs = 1000;
/** A lease of somebody who stands still is free for others so much later, at the earliest (decisions.md 13). */
const leaseMs = 12_000;
/** What a woken process still had open is closed by then. */
const wakeMs = 2_000;
/** A connection that was made just before its process froze is seen so much after it, at most. */
const seenMs = 200;
/** Of what was judged: beyond, the machine was too busy for the watch to show anything. */
const mostDoubtful = { share: 0.005, few: 5 };

interface Site {
  readonly limit: SiteLimit;
  /** Since when. */
  readonly open: Map<Visit, number>;
  /** The last ones, one more than the rate allows at most. */
  dots: Dot[];
  inSecond: number[];
  mostOpen: number;
  mostPerSecond: number;
}

interface Freeze {
  readonly since: number;
  until: number;
}

interface Dot {
  /** It came no earlier: this process has read all that had come by then. */
  readonly since: number;
  readonly readAt: number;
}

/** `limits` are in the order of the sink's ports; `onFound` is told each violation. */
export function createLimitWatch(
  limits: readonly SiteLimit[],
  onFound: (violation: string) => void = () => {},
  clock: WatchClock = realClock,
): LimitWatch {
  const sites = limits.map(
    (limit): Site => ({
      limit,
      open: new Map(),
      dots: [],
      inSecond: [],
      mostOpen: 0,
      mostPerSecond: 0,
    }),
  );
  const found: string[] = [];
  let doubtful = 0;
  let excused = 0;
  let judged = 0;
  const freezes = new Map<number, Freeze>();
  // Between two looks everything that had come before the first is read: what is read after the second came after the first.
  let looks = { before: -Infinity, last: clock.now() };
  const stop = clock.every(lookMs, () => (looks = { before: looks.last, last: clock.now() }));

  const violated = (violation: string): void => {
    found.push(violation);
    onFound(violation);
  };

  /** Those of processes that are frozen past their leases. */
  const frozenOf = ({ open }: Site): number => {
    const now = clock.now();
    const inForce = new Map(
      [...freezes].filter(([, { since, until }]) => now - since >= leaseMs && now < until),
    );
    const last = Math.max(...[...inForce.values()].map(({ since }) => since));
    const isFrozen = ([{ by }, since]: [Visit, number]): boolean =>
      by > 0 ? inForce.has(by) : since <= last + seenMs;
    return [...open].filter(isFrozen).length;
  };
  /** `7: 8, 9: 2, unknown for 15.1 s`: whose the open ones are. */
  const whose = ({ open }: Site): string => {
    const named = [...Map.groupBy(open.keys(), ({ by }) => by)].filter(([by]) => by > 0);
    const unknown = [...open].filter(([{ by }]) => by === 0);
    const seconds = (since: number): string => ((clock.now() - since) / 1000).toFixed(1);
    return [
      ...named.map(([by, its]) => `${by}: ${its.length}`),
      ...unknown.map(([, since]) => `unknown for ${seconds(since)} s`),
    ].join(", ");
  };

  return {
    connected(visit) {
      const site = sites[visit.place];
      if (site === undefined) return;
      const { limit, open } = site;
      judged++;
      open.set(visit, clock.now());
      site.mostOpen = Math.max(site.mostOpen, open.size);
      if (open.size <= limit.connections) return;
      // A peer closes before its next one connects, so the kernel knows of that end now. Ends are read in this very turn.
      clock.afterTurn(() => {
        if (open.size <= limit.connections) doubtful++;
        else if (open.size - limit.connections <= frozenOf(site)) excused++;
        else
          violated(`${limit.name}: ${open.size} connections, ${limit.connections} allowed (${whose(site)})`);
      });
    },
    disconnected: (visit) => void sites[visit.place]?.open.delete(visit),
    message(place) {
      const site = sites[place];
      const rate = site?.limit.perSecond;
      if (site === undefined || rate === undefined) return;
      const now = clock.now();
      judged++;
      site.inSecond = [...site.inSecond.filter((at) => at > now - windowMs), now];
      site.mostPerSecond = Math.max(site.mostPerSecond, site.inSecond.length);
      site.dots = [...site.dots.slice(-rate), { since: looks.before, readAt: now }];
      const [first] = site.dots;
      if (site.dots.length <= rate || first === undefined) return;
      if (now - first.since < windowMs)
        violated(`${site.limit.name}: ${site.inSecond.length} messages in a second, ${rate} allowed`);
      else if (now - first.readAt < windowMs) doubtful++;
    },
    violations: () => found,
    doubtful: () => ({ count: doubtful, of: judged }),
    excused: () => excused,
    frozen: (pid) => void freezes.set(pid, { since: clock.now(), until: Infinity }),
    thawed(pid) {
      const freeze = freezes.get(pid);
      if (freeze !== undefined) freeze.until = clock.now() + wakeMs;
    },
    most(place) {
      const { mostOpen = 0, mostPerSecond = 0 } = sites[place] ?? {};
      return { connections: mostOpen, perSecond: mostPerSecond };
    },
    stop,
  };
}

/** Why nothing was shown, when the watch itself was late too often. */
export function tooDoubtful({ count, of }: Doubtful): string[] {
  const most = mostDoubtful.few + Math.floor(of * mostDoubtful.share);
  return count <= most
    ? []
    : [`limits: not sure of ${count} of ${of}, ${most} may be: the machine was too busy`];
}
