/** What `top` shows per second: differences of the counters that exist anyway, over the last seconds. Never fails. */
import type { Pod } from "./pod.ts";

/** Rates of the last seconds, from the counters that exist anyway. */
export function createRates(pod: Pod): {
  of(tenant: string): { receivedPerSecond: number; deliveredPerSecond: number };
  stop(): void;
} {
  const windowMs = 5000;
  let previous = new Map<string, { received: number; delivered: number }>();
  let latest = previous;
  const sample = async (): Promise<void> => {
    const sums = new Map<string, { received: number; delivered: number }>();
    const at = (tenant: string) => {
      const sum = sums.get(tenant) ?? { received: 0, delivered: 0 };
      sums.set(tenant, sum);
      return sum;
    };
    for (const { labels, value } of (await pod.metrics.received.counter.get()).values)
      at(String(labels.tenant)).received += value;
    for (const { labels, value } of (await pod.metrics.recipients.counter.get()).values)
      if (labels.outcome === "delivered") at(String(labels.tenant)).delivered += value;
    previous = latest;
    latest = sums;
  };
  const timer = setInterval(() => void sample(), windowMs);
  timer.unref();
  return {
    of(tenant) {
      const now = latest.get(tenant) ?? { received: 0, delivered: 0 };
      const before = previous.get(tenant) ?? { received: 0, delivered: 0 };
      const perSecond = (later: number, earlier: number) => Math.max(0, later - earlier) / (windowMs / 1000);
      return {
        receivedPerSecond: perSecond(now.received, before.received),
        deliveredPerSecond: perSecond(now.delivered, before.delivered),
      };
    },
    stop: () => clearInterval(timer),
  };
}
