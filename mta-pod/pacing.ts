/**
 * CORRIDOR: lets mail that is here leave before more is taken in, while the processor is what is short. An owner whose
 * loop is busy and whose memory for bodies fills says so to all pods, which hold new mail for its shards for a moment
 * before they store it. Limits of sites never hold intake back: a queue is what we are for.
 */
import type { Clock } from "./runtime/clock.ts";
import type { Pressure } from "./spool/pressure.ts";

export interface Pacing {
  /** Calls `next` at once, or when the shard's owner has caught up; in any case within `maxHoldMs`. */
  enter(shard: number, next: () => void): void;
  /** A body was kept: how full the memory for them is, 0 to 1. */
  filled(share: number): void;
  /** Lets everybody in. */
  stop(): void;
}

export interface PacingDeps {
  readonly clock: Pick<Clock, "monotonic">;
  readonly pressure: Pressure;
  ownedShards(): readonly number[];
  /** How full the memory for bodies is now. */
  fill(): number;
  /** Share of the time since the last call that the event loop was busy. */
  utilization(): number;
}

const crowdedShare = 0.25;
const busyUtilization = 0.9;
const lookMs = 20;
/** What is said lasts until the next look and a little longer, so that a late one opens no gap. */
const toldMs = 35;
/** A client feels this at most, also while the owner stays busy. */
const maxHoldMs = 100;
const releaseMs = 5;

interface Held {
  readonly shard: number;
  readonly since: number;
  readonly next: () => void;
}

export function createPacing(deps: PacingDeps): Pacing {
  const { clock, pressure } = deps;
  let held: Held[] = [];
  let releasing: NodeJS.Timeout | undefined;
  let looking: NodeJS.Timeout | undefined;
  let stopped = false;

  const release = (): void => {
    const now = clock.monotonic();
    const waiting = held;
    held = [];
    for (const one of waiting)
      if (!stopped && pressure.until(one.shard) > now && now - one.since < maxHoldMs) held.push(one);
      else one.next();
    if (held.length > 0 || releasing === undefined) return;
    clearInterval(releasing);
    releasing = undefined;
  };

  const look = (): void => {
    const isBusy = deps.utilization() >= busyUtilization;
    if (deps.fill() < crowdedShare || stopped) {
      clearInterval(looking);
      looking = undefined;
    } else if (isBusy) pressure.tell(deps.ownedShards(), toldMs);
  };

  return {
    enter(shard, next) {
      const now = clock.monotonic();
      if (stopped || pressure.until(shard) <= now) return next();
      held.push({ shard, since: now, next });
      releasing ??= setInterval(release, releaseMs);
      return undefined;
    },
    filled(share) {
      if (share < crowdedShare || looking !== undefined || stopped) return;
      deps.utilization();
      looking = setInterval(look, lookMs);
    },
    stop() {
      stopped = true;
      clearInterval(looking);
      release();
      clearInterval(releasing);
      pressure.close();
    },
  };
}
