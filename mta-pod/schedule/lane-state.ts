/** One lane (site × tenant × class) and one tenant, as the index keeps them. Data; the queue moves it. */
import type { Sweepable } from "./broom.ts";
import type { Ring, RingItem } from "./ring.ts";
import type { SiteState } from "./site-state.ts";
import { emptyList, type SlotList } from "./slot-list.ts";
import type { Timed } from "./timer-heap.ts";
import type { Lane } from "./types.ts";

export interface TenantState {
  readonly id: string;
  readonly lanes: Set<LaneState>;
  weight: number;
  isConfigured: boolean;
  /** Held by its configuration, or not in it. */
  held: boolean;
  ready: number;
  waiting: number;
  suspended: number;
  inflight: number;
}

export function newTenant(id: string): TenantState {
  const counts = { ready: 0, waiting: 0, suspended: 0, inflight: 0 };
  return { id, lanes: new Set(), weight: 1, isConfigured: false, held: true, ...counts };
}

export class LaneState implements RingItem<LaneState>, Timed, Sweepable {
  readonly id: number;
  readonly lane: Lane;
  readonly site: SiteState;
  readonly tenant: TenantState;
  /** Waits for its turn, oldest first. */
  readonly ready: SlotList = emptyList();
  /** Waiting for their time, or in flight. */
  readonly away: SlotList = emptyList();
  inflight = 0;
  /** Held or suspended: takes no turns. */
  parked = false;
  /** No ready entry, and none in flight that may come back, expires later than this. */
  latestExpiry = Number.NEGATIVE_INFINITY;
  /** Turns left in `round` (fair-queue.ts). */
  credit = 0;
  round = -1;
  emptySince = Number.POSITIVE_INFINITY;
  ring: Ring<LaneState> | null = null;
  ringNext: LaneState | null = null;
  ringPrevious: LaneState | null = null;
  /** Lower bound of the expiry of the first ready entry. */
  at = 0;
  heapIndex = -1;

  constructor(parts: { id: number; lane: Lane; site: SiteState; tenant: TenantState }) {
    this.id = parts.id;
    this.lane = parts.lane;
    this.site = parts.site;
    this.tenant = parts.tenant;
  }

  get entries(): number {
    return this.ready.length + this.away.length;
  }
}
