/**
 * Targets that did not answer at all when they were connected to last (RFC 5321 4.5.4.1: hosts that cannot be reached are remembered): where
 * a site has others those are tried at once, and one connection in a while looks whether they are back. Bounded; never fails.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../runtime/clock.ts";
import type { Fault, Target } from "../smtp/transaction.ts";

export interface Unreached {
  /** Those that are worth a try by this source now, in their order; all of them, when none is. */
  worthwhile(source: string, targets: readonly Target[]): readonly Target[];
  failed(source: string, fault: Fault): void;
  reached(source: string, target: Target): void;
}

/** So long one that was silent is left alone; who refuses costs nothing and is asked each time. */
const restMs = 60_000;
const maxTargets = 10_000;

export function createUnreached(clock: Pick<Clock, "monotonic">): Unreached {
  /** Until when; whoever comes first after that looks again, for all. */
  const silent = new LRUCache<string, number>({ max: maxTargets });
  return {
    worthwhile(source, targets) {
      if (silent.size === 0 || targets.length < 2) return targets;
      const now = clock.monotonic();
      const found = targets.filter((target) => {
        const until = silent.get(keyOf(source, target));
        if (until === undefined) return true;
        if (until > now) return false;
        silent.set(keyOf(source, target), now + restMs);
        return true;
      });
      return found.length > 0 ? found : targets;
    },
    failed(source, { stage, kind, target }) {
      if (stage === "connect" && kind === "timeout" && target !== undefined)
        silent.set(keyOf(source, target), clock.monotonic() + restMs);
    },
    reached(source, target) {
      if (silent.size > 0) silent.delete(keyOf(source, target));
    },
  };
}

function keyOf(source: string, { address, port }: Target): string {
  return `${source} ${address} ${port}`;
}
