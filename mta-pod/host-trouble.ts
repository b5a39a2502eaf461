/**
 * CORRIDOR: hosts that cannot be reached, at the site of a provider: its customers may have hosts of their own, and who can be anybody. While
 * mail gets through to others there, those hosts alone are left alone, and their mail waits beside the lane; else it is the site's trouble.
 */
import { LRUCache } from "lru-cache";
import type { Clock, Random } from "./runtime/clock.ts";
import type { SiteRoute } from "./route/router.ts";
import { Backoff } from "./schedule/backoff.ts";
import { tuning } from "./schedule/tuning.ts";
import type { Decision } from "./settle/decide.ts";

/** An attempt at one set of hosts of a site. */
export interface AtHosts {
  readonly site: string;
  /** By `hostsKey`. */
  readonly hosts: string;
  /** Monotonic ms. */
  readonly startedAt: number;
}

export interface HostTrouble {
  /** How much longer these hosts are left alone, ms; 0 = they are not. */
  waitMs(hosts: string): number;
  /** What the decision means when these hosts are not the whole site. */
  apart(at: AtHosts, decision: Decision, isConnected: boolean): Decision;
}

/** So long others' success says that the site is alive. */
const aliveMs = 60_000;
/** So many different sets of hosts that fail in a row are the site's trouble. */
const siteWide = 3;
const maxSites = 1000;
const maxHosts = 10_000;

interface KnownSite {
  /** The last two different sets of hosts that were reached, the later one first. */
  reached: readonly { readonly hosts: string; at: number }[];
  /** Failed since. */
  readonly failing: Set<string>;
}

/** Has the site other hosts than these? */
export function hasOtherHosts({ rule }: Pick<SiteRoute, "rule">): boolean {
  return (rule?.match.mxSuffixes.length ?? 0) > 0;
}

export function createHostTrouble({
  clock,
  random,
}: {
  readonly clock: Clock;
  readonly random: Random;
}): HostTrouble {
  const sites = new LRUCache<string, KnownSite>({ max: maxSites });
  const pauses = new LRUCache<string, Backoff>({ max: maxHosts });

  const siteOf = (site: string): KnownSite => {
    const known = sites.get(site) ?? { reached: [], failing: new Set() };
    sites.set(site, known);
    return known;
  };
  const reached = ({ site, hosts }: AtHosts): void => {
    const known = siteOf(site);
    const [last] = known.reached;
    if (last?.hosts === hosts) last.at = clock.monotonic();
    else known.reached = [{ hosts, at: clock.monotonic() }, ...(last === undefined ? [] : [last])];
    known.failing.clear();
    if (pauses.size > 0) pauses.delete(hosts);
  };
  /** False = it is the site's trouble. */
  const isTheirs = ({ site, hosts, startedAt }: AtHosts): boolean => {
    const known = siteOf(site);
    const now = clock.monotonic();
    if (known.failing.size < siteWide) known.failing.add(hosts);
    const isAlive = known.reached.some((one) => one.hosts !== hosts && now - one.at <= aliveMs);
    if (!isAlive || known.failing.size >= siteWide) return false;
    const pause = pauses.get(hosts) ?? new Backoff(tuning.backoff);
    pauses.set(hosts, pause);
    pause.strike(startedAt, now, random);
    return true;
  };
  const waitMs = (hosts: string): number =>
    pauses.size === 0 ? 0 : Math.max(0, (pauses.get(hosts)?.until ?? 0) - clock.monotonic());

  return {
    waitMs,
    apart(at, decision, isConnected) {
      const { feedback, next } = decision;
      if (feedback !== "unreachable") {
        if (isConnected) reached(at);
        return decision;
      }
      if (!isTheirs(at)) return decision;
      const due = clock.now() + waitMs(at.hosts);
      return { ...decision, feedback: "neutral", next: next.kind === "requeue" ? { ...next, due } : next };
    },
  };
}
