/**
 * Whether the sites' limits hold, judged where the mail arrives: connections at once, and final dots in any half-open second, without any
 * allowance. A dot is read some time after it came, and when this very process is late that can be long: too many within a second
 * is a violation when they are too many whenever they can have come, else "not sure". How much of that there may be is bounded.
 * The one exception (decisions.md 13): the connections of a process that is frozen for longer than its leases stay open while
 * another owns its sites. They are counted apart, and no others.
 */
import type { SinkWatch } from "#e2e/kit/sink.ts";

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
/** Of what was judged: beyond, the machine was too busy for the watch to show anything. */
/** A lease of somebody who stands still is free for others so much later, at the earliest (decisions.md 13). */
const leaseMs = 12_000;
/** What a woken process still had open is closed by then. */
const wakeMs = 2_000;
const mostDoubtful = { share: 0.005, few: 5 };

interface Site {
  readonly limit: SiteLimit;
  open: number;
  /** The last ones, one more than the rate allows at most. */
  dots: Dot[];
  inSecond: number[];
  mostOpen: number;
  mostPerSecond: number;
  /** Open ones of each process that says who it is. */
  readonly byProcess: Map<number, number>;
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
      open: 0,
      dots: [],
      inSecond: [],
      mostOpen: 0,
      mostPerSecond: 0,
      byProcess: new Map(),
    }),
  );
  const found: string[] = [];
  let doubtful = 0;
  let excused = 0;
  let judged = 0;
  const freezes = new Map<number, { readonly since: number; until: number }>();
  // Between two looks everything that had come before the first is read: what is read after the second came after the first.
  let looks = { before: -Infinity, last: clock.now() };
  const stop = clock.every(lookMs, () => (looks = { before: looks.last, last: clock.now() }));

  const violated = (violation: string): void => {
    found.push(violation);
    onFound(violation);
  };

  const frozenAt = ({ byProcess }: Site): number => {
    const now = clock.now();
    let open = 0;
    for (const [pid, { since, until }] of freezes)
      if (now - since >= leaseMs && now < until) open += byProcess.get(pid) ?? 0;
    return open;
  };
  const add = (place: number, by: number, count: number): void => {
    const known = sites[place]?.byProcess;
    if (by > 0) known?.set(by, (known.get(by) ?? 0) + count);
  };

  return {
    connected(place) {
      const site = sites[place];
      if (site === undefined) return;
      const { limit } = site;
      judged++;
      site.open++;
      site.mostOpen = Math.max(site.mostOpen, site.open);
      if (site.open <= limit.connections) return;
      // A peer closes before its next one connects, so the kernel knows of that end now. Ends are read in this very turn.
      clock.afterTurn(() => {
        if (site.open <= limit.connections) doubtful++;
        else if (site.open - limit.connections <= frozenAt(site)) excused++;
        else violated(`${limit.name}: ${site.open} connections, ${limit.connections} allowed`);
      });
    },
    greeted: (place, by) => add(place, by, 1),
    disconnected(place, _messages, by) {
      const site = sites[place];
      if (site !== undefined) site.open--;
      add(place, by, -1);
    },
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
