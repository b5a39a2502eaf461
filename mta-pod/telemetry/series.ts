/** Bounds the label values of a metric: the first `limit` stay by name for an hour after their last use, the rest are "other". */
import type { Clock } from "#mta-pod/runtime/clock.ts";

const stickyMs = 3_600_000;
export const otherSeries = "other";

/** Gives the label for a name. Never holds more than `limit` names (decisions.md 20). */
export interface SeriesBound {
  label(name: string): string;
}

/** @example createSeriesBound(500, clock).label("mail/acme") === "mail/acme" */
export function createSeriesBound(limit: number, clock: Clock, forget: (name: string) => void): SeriesBound {
  const lastUse = new Map<string, number>();
  let sweptAt = 0;
  const sweep = (now: number) => {
    sweptAt = now;
    for (const [name, usedAt] of lastUse) {
      if (now - usedAt < stickyMs) continue;
      lastUse.delete(name);
      forget(name);
    }
  };
  return {
    label(name) {
      const now = clock.monotonic();
      if (lastUse.has(name)) {
        lastUse.set(name, now);
        return name;
      }
      if (lastUse.size >= limit && now - sweptAt > 1000) sweep(now);
      if (lastUse.size >= limit) return otherSeries;
      lastUse.set(name, now);
      return name;
    },
  };
}
