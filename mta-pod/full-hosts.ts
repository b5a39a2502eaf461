/**
 * CORRIDOR: attempts that could not be made since hosts of others, which are all that is left of a site, have no room for it now: it waits
 * longer and longer, until one gets through, as its own hosts are dialled each time before. Never fails.
 */
import { LRUCache } from "lru-cache";
import type { Pod } from "./pod.ts";
import { Backoff } from "./schedule/backoff.ts";
import type { Dispatch } from "./schedule/types.ts";

export interface FullHosts {
  /** Ends the dispatch. `isApart`: the site has other hosts, and only this entry waits. */
  comeBack(dispatch: Dispatch, key: string, isApart: boolean): void;
  /** One got through, by its connection key. */
  reached(key: string): void;
}

const pause = { firstMs: 500, maxMs: 15_000 } as const;
const maxKept = 1000;

export function createFullHosts({
  scheduler,
  clock,
  random,
}: Pick<Pod, "scheduler" | "clock" | "random">): FullHosts {
  /** On the monotonic clock. */
  const pauses = new LRUCache<string, Backoff>({ max: maxKept });
  /** So long from now. What was begun before the pause that runs found the same. */
  const waitMs = (key: string): number => {
    const now = clock.monotonic();
    const backoff = pauses.get(key) ?? new Backoff(pause);
    pauses.set(key, backoff);
    if (backoff.until <= now) backoff.strike(now, now, random);
    return backoff.until - now;
  };
  return {
    comeBack({ handle, entry, lane }, key, isApart) {
      const now = clock.now();
      const ms = waitMs(key);
      if (isApart) scheduler.defer(handle, Math.min(now + ms, entry.expiresAt), entry.attempt, now);
      else {
        scheduler.setSite(lane.site, { crowdedUntil: now + ms }, now);
        scheduler.requeue(handle, now);
      }
      scheduler.finish(handle, { feedback: "neutral", connection: "closed" }, now);
    },
    reached(key) {
      if (pauses.size > 0) pauses.delete(key);
    },
  };
}
