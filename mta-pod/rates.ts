/** What `top` shows per second: differences of the counters that exist anyway, over the last seconds. Never fails. */
import { isGuestSite } from "#crds/wire/subject.ts";
import type { Pod } from "./pod.ts";

const windowMs = 5000;

interface Rates {
  /** Those that received or delivered anything in the last seconds. */
  tenants(): readonly string[];
  of(tenant: string): { receivedPerSecond: number; deliveredPerSecond: number };
  ofSource(source: string): { attemptsPerSecond: number; deliveredPerSecond: number };
  /** Transactions that its host took, as a site's message rate counts them. */
  ofSite(site: string): { sentPerSecond: number };
  stop(): void;
}

/** Rates of the last seconds, from the counters that exist anyway. */
export function createRates(pod: Pod): Rates {
  const { received, recipients, attempts } = pod.metrics;
  let previous = new Map<string, number>();
  let latest = previous;
  const sample = async (): Promise<void> => {
    const sums = new Map<string, number>();
    const add = (key: string, value: number): void => void sums.set(key, (sums.get(key) ?? 0) + value);
    for (const { labels, value } of (await received.counter.get()).values)
      add(`received ${labels.tenant}`, value);
    for (const { labels, value } of (await recipients.counter.get()).values)
      if (labels.outcome === "delivered") add(`delivered ${labels.tenant}`, value);
    for (const { labels, value } of (await attempts.counter.get()).values) {
      add(`attempted by ${labels.source}`, value);
      if (labels.result === "delivered") add(`delivered by ${labels.source}`, value);
    }
    for (const site of pod.scheduler.sites())
      if (!isGuestSite(site)) add(`sent to ${site}`, pod.scheduler.siteState(site).good);
    previous = latest;
    latest = sums;
  };
  const timer = setInterval(() => void sample(), windowMs);
  timer.unref();
  const perSecond = (key: string): number =>
    Math.max(0, (latest.get(key) ?? 0) - (previous.get(key) ?? 0)) / (windowMs / 1000);
  return {
    tenants: () => [
      ...new Set(
        [...latest.keys()]
          .filter((key) => perSecond(key) > 0)
          .flatMap((key) => /^(?:received|delivered) (\S+)$/.exec(key)?.[1] ?? []),
      ),
    ],
    of: (tenant) => ({
      receivedPerSecond: perSecond(`received ${tenant}`),
      deliveredPerSecond: perSecond(`delivered ${tenant}`),
    }),
    ofSource: (source) => ({
      attemptsPerSecond: perSecond(`attempted by ${source}`),
      deliveredPerSecond: perSecond(`delivered by ${source}`),
    }),
    ofSite: (site) => ({ sentPerSecond: perSecond(`sent to ${site}`) }),
    stop: () => clearInterval(timer),
  };
}
