/**
 * CORRIDOR: the limits of guest sites (guests.ts): their rule's, and no more than there is room for at the place. All at a place may do
 * together what the largest of them may: whenever one is set, those of before are set anew, as the room may be another one. Never fails.
 */
import { placeOf } from "#crds/wire/subject.ts";
import type { Pod } from "./pod.ts";
import type { SiteLimits } from "./schedule/types.ts";

/** Absent = as much as their rule says. */
export interface Room {
  readonly connections?: number | undefined;
  readonly messagesPerSecond?: number | undefined;
  readonly connectionsPerSecond?: number | undefined;
}

interface GuestLimitsDeps extends Pick<Pod, "scheduler" | "clock"> {
  roomAt(place: string): Room | undefined;
}

export function createGuestLimits({ scheduler, clock, roomAt }: GuestLimitsDeps) {
  /** What its rule allows each of them. */
  const own = new Map<string, SiteLimits>();
  return {
    set(site: string, limits: SiteLimits): void {
      own.set(site, limits);
      const place = placeOf(site);
      const room = roomAt(place) ?? {};
      for (const [one, wanted] of own)
        if (placeOf(one) === place) scheduler.setSite(one, { limits: within(wanted, room) }, clock.now());
    },
    /** Those that the scheduler has forgotten go. */
    sweep(): void {
      for (const site of own.keys()) if (!scheduler.knowsSite(site)) own.delete(site);
    },
  };
}

/** Of each kind the smaller one. */
function within(limits: SiteLimits, room: Room): SiteLimits {
  const rate = (kind: "messagesPerSecond" | "connectionsPerSecond") => {
    const least = Math.min(limits[kind] ?? Infinity, room[kind] ?? Infinity);
    return least === Infinity ? {} : { [kind]: least };
  };
  const connections = Math.min(limits.connections, room.connections ?? Infinity);
  return { connections, ...rate("messagesPerSecond"), ...rate("connectionsPerSecond") };
}
