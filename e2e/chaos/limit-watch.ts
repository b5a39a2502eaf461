/**
 * Whether the sites' limits hold, judged where the mail arrives: connections at once, and final dots in any half-open second.
 * When this very process was late to look, what came in one go is not held against the pods; how often that was is told.
 */
import type { SinkWatch } from "#e2e/kit/sink.ts";

export interface SiteLimit {
  readonly name: string;
  readonly connections: number;
  readonly perSecond?: number;
}

export interface LimitWatch extends SinkWatch {
  /** One line each. */
  violations(): readonly string[];
  /** Seconds with more messages than the rate, at times when this process was late. */
  doubtful(): number;
  stop(): void;
}

/** A close and a new connection that are seen in one turn come in either order. */
const settleMs = 50;
const lookMs = 10;
/** Of a timer, on a machine that has nothing else to do. */
const usualLagMs = 5;
const windowMs = 1000;

interface Site {
  readonly limit: SiteLimit;
  open: number;
  dots: number[];
}

/** `limits` are in the order of the sink's ports; `onFound` is told each violation. */
export function createLimitWatch(
  limits: readonly SiteLimit[],
  onFound: (violation: string) => void = () => {},
): LimitWatch {
  const sites = limits.map((limit): Site => ({ limit, open: 0, dots: [] }));
  const found: string[] = [];
  let doubtful = 0;
  let late: { at: number; ms: number }[] = [];
  let lookedAt = performance.now();
  const clock = setInterval(() => {
    const now = performance.now();
    const ms = now - lookedAt - lookMs;
    lookedAt = now;
    if (ms < usualLagMs) return;
    late.push({ at: now, ms });
    if (late.length > 1000) late = late.slice(-500);
  }, lookMs);
  clock.unref();

  const violated = (violation: string): void => {
    found.push(violation);
    onFound(violation);
  };
  const checkConnections = ({ limit, open }: Site): void => {
    if (open > limit.connections)
      violated(`${limit.name}: ${open} connections, ${limit.connections} allowed`);
  };
  const checkRate = ({ limit, dots }: Site, rate: number): void => {
    const now = performance.now();
    if (dots.length <= rate) return;
    const lagMs = late
      .filter(({ at }) => at > now - windowMs - lookMs)
      .reduce((sum, { ms }) => Math.max(sum, ms), 0);
    const excused = Math.ceil((rate * lagMs) / 1000);
    if (dots.length <= rate + excused) doubtful++;
    else violated(`${limit.name}: ${dots.length} messages in a second, ${rate} allowed`);
  };

  return {
    connected(place) {
      const site = sites[place];
      if (site === undefined) return;
      site.open++;
      if (site.open > site.limit.connections) setTimeout(() => checkConnections(site), settleMs).unref();
    },
    disconnected(place) {
      const site = sites[place];
      if (site !== undefined) site.open--;
    },
    message(place) {
      const site = sites[place];
      const rate = site?.limit.perSecond;
      if (site === undefined || rate === undefined) return;
      const now = performance.now();
      site.dots = site.dots.filter((at) => at > now - windowMs);
      site.dots.push(now);
      checkRate(site, rate);
    },
    violations: () => found,
    doubtful: () => doubtful,
    stop: () => clearInterval(clock),
  };
}
