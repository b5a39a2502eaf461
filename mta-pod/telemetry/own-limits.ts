/**
 * How long tenants are held back by limits of their own: from a refusal to the tenant's next message, accepted or refused
 * again. Who does not come back is not waiting: a gap counts for a minute at most. Pure; never fails; bounded.
 */
import type { Clock } from "#mta-pod/runtime/clock.ts";

export interface OwnLimits {
  refused(tenant: string, limit: string): void;
  accepted(tenant: string): void;
}

/** ms. A client of ours that is refused with a 4xx tries again within minutes; one that polls, within seconds. */
const longestGap = 60_000;
const mostTenants = 10_000;

/** @param add is told seconds, at least 0. */
export function createOwnLimits(
  clock: Pick<Clock, "monotonic">,
  add: (tenant: string, limit: string, seconds: number) => void,
): OwnLimits {
  const held = new Map<string, { readonly limit: string; readonly since: number }>();
  const end = (tenant: string, now: number): void => {
    const one = held.get(tenant);
    if (one === undefined) return;
    held.delete(tenant);
    add(tenant, one.limit, Math.min(longestGap, Math.max(0, now - one.since)) / 1000);
  };
  return {
    refused(tenant, limit) {
      const now = clock.monotonic();
      end(tenant, now);
      // The oldest is forgotten with what it had not told yet.
      for (const oldest of held.size >= mostTenants ? held.keys() : []) {
        held.delete(oldest);
        break;
      }
      held.set(tenant, { limit, since: now });
    },
    accepted(tenant) {
      if (held.size > 0) end(tenant, clock.monotonic());
    },
  };
}
