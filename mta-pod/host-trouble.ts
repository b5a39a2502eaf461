/**
 * CORRIDOR: hosts that cannot be reached, at the site of a provider: its customers may have hosts of their own, and who can be anybody. While
 * mail gets through to others there, those hosts alone are left alone, and their mail waits beside the lane; else it is the site's trouble.
 */
import { LRUCache } from "lru-cache";
import { siteKey } from "./outbound.ts";
import type { Pod } from "./pod.ts";
import type { Clock, Random } from "./runtime/clock.ts";
import { servesAny } from "./route/match.ts";
import type { SiteRoute } from "./route/router.ts";
import { Backoff } from "./schedule/backoff.ts";
import { tuning } from "./schedule/tuning.ts";
import type { Dispatch } from "./schedule/types.ts";
import { type Decision, isBeforeMail } from "./settle/decide.ts";
import { untried } from "./sites.ts";
import type { Fault, TransactionResult } from "./smtp/transaction.ts";

/** An attempt at one set of hosts of a site that has others, by one source. */
export interface AtHosts {
  readonly site: SiteRoute;
  readonly source: string;
  /** By `hostsKey`. */
  readonly hosts: string;
  /** Of the recipients. */
  readonly domain: string;
  /** Monotonic ms. */
  readonly startedAt: number;
  /** Until when others wait for it, monotonic ms; 0 = they do not. */
  probeUntil: number;
}

export interface HostTrouble {
  /** 0 = these hosts may be tried now; of those that could not be reached one attempt at a time is let through. Else how much longer they are left alone, ms. */
  waitMs(at: AtHosts): number;
  /** The attempt ended without a word to or from the hosts: the next one is let through. */
  untried(at: AtHosts): void;
  /** What the decision about the result means when these hosts are not the whole site. */
  apart(at: AtHosts, decision: Decision, made: Made): Decision;
}

interface Made {
  readonly result: TransactionResult;
  /** There was a connection. */
  readonly isConnected: boolean;
}

/** So long others' success says that the site was alive. */
const aliveMs = 60_000;
/** So many different sets of hosts that fail in a row are the site's trouble. */
const siteWide = 3;
/** So long an attempt at hosts that could not be reached is waited for before the next is let through. */
const probeMs = 30_000;
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
  /** Of a source: where it cannot get out, that is no trouble of anybody's hosts. */
  const sites = new LRUCache<string, KnownSite>({ max: maxSites });
  const pauses = new LRUCache<string, Backoff>({ max: maxHosts });

  const siteOf = ({ site, source }: AtHosts): KnownSite => {
    const key = siteKey({ site: site.id, source });
    const known = sites.get(key);
    if (known !== undefined) return known;
    const met: KnownSite = { reached: [], failing: new Set() };
    sites.set(key, met);
    return met;
  };
  const pauseKey = ({ source, hosts }: AtHosts): string => `${source}|${hosts}`;
  const reached = (at: AtHosts): void => {
    const known = siteOf(at);
    const { hosts } = at;
    const [last] = known.reached;
    if (last?.hosts === hosts) last.at = clock.monotonic();
    else known.reached = [{ hosts, at: clock.monotonic() }, ...(last === undefined ? [] : [last])];
    known.failing.clear();
    if (pauses.size > 0) pauses.delete(pauseKey(at));
  };
  /** False = it is the site's trouble. */
  const isTheirs = (at: AtHosts): boolean => {
    const { hosts, startedAt } = at;
    const known = siteOf(at);
    if (known.failing.size < siteWide) known.failing.add(hosts);
    // As it began: it may have taken longer than that to fail, and have kept others from being tried.
    const isAlive = known.reached.some((one) => one.hosts !== hosts && startedAt - one.at <= aliveMs);
    if (!isAlive || known.failing.size >= siteWide) return false;
    const key = pauseKey(at);
    const pause = pauses.get(key) ?? new Backoff(tuning.backoff);
    pauses.set(key, pause);
    pause.strike(startedAt, clock.monotonic(), random);
    return true;
  };
  const leftMs = (pause: Backoff | undefined): number => Math.max(0, (pause?.until ?? 0) - clock.monotonic());

  return {
    waitMs(at) {
      if (pauses.size === 0) return 0;
      const pause = pauses.get(pauseKey(at));
      const ms = leftMs(pause);
      if (pause !== undefined && ms === 0) at.probeUntil = pause.until = clock.monotonic() + probeMs;
      return ms;
    },
    untried(at) {
      const pause = at.probeUntil > 0 ? pauses.get(pauseKey(at)) : undefined;
      if (pause?.until === at.probeUntil) pause.until = clock.monotonic();
    },
    apart(at, decision, { result, isConnected }) {
      const { feedback, next } = decision;
      if (feedback !== "unreachable" || result.kind !== "fault") {
        if (isConnected && isFromThem(result)) reached(at);
        return decision;
      }
      const areTheirs = !isProviders(at, result.fault) && isTheirs(at);
      // At once when it is the site's, but behind the others of the lane: they may have hosts that can be reached.
      const due = clock.now() + (areTheirs ? leftMs(pauses.get(pauseKey(at))) : 0);
      return {
        ...decision,
        feedback: areTheirs ? "neutral" : feedback,
        next: next.kind === "requeue" ? { ...next, due } : next,
      };
    },
  };
}

/** What we answer ourselves, as for what they do not offer, says nothing of them. */
function isFromThem(result: TransactionResult): boolean {
  return result.kind === "answered"
    ? result.replies.some(({ isOurs }) => isOurs !== true)
    : !isBeforeMail(result.fault);
}

/** The provider's own host says that it does not want us now: that is meant for all of its customers' mail. */
function isProviders({ site }: AtHosts, { reply, target }: Fault): boolean {
  const suffixes = site.rule?.match.mxSuffixes ?? [];
  return reply !== undefined && target !== undefined && servesAny(suffixes, [target.host]);
}

/** Its hosts could not be reached a moment ago: it waits beside the others of the site, whose mail goes on. */
export function leaveAlone(
  { scheduler, clock }: Pick<Pod, "scheduler" | "clock">,
  dispatch: Dispatch,
  ms: number,
): void {
  const { handle, entry } = dispatch;
  const now = clock.now();
  scheduler.defer(handle, Math.min(now + ms, entry.expiresAt), entry.attempt, now);
  scheduler.finish(handle, { ...untried(dispatch), isUnspent: true }, now);
}
