/** One lane (site × tenant × class, by sender domain where limits ask) and one tenant, as the index keeps them. Data; the queue moves it. */
import type { Sweepable } from "./broom.ts";
import type { Budget } from "./budget.ts";
import { Ring, type RingItem } from "./ring.ts";
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

/** Lanes by sender domain: they share the turns of the lane that they are parts of, one after another. */
export class SenderLanes {
  readonly lanes = new Map<string, LaneState>();
  readonly ready = new Ring<LaneState>();
  /** What the lane itself holds, whose sender is not told, is next. */
  isOwnTurn = true;
}

export class LaneState implements RingItem<LaneState>, Timed, Sweepable {
  readonly id: number;
  readonly lane: Lane;
  readonly site: SiteState;
  readonly tenant: TenantState;
  /** The lane that this sender domain's is a part of. */
  readonly parent: LaneState | null;
  senders: SenderLanes | null = null;
  /** What it draws on where the site's limits ask for it. */
  budget: Budget | null = null;
  /** Waits for its turn, oldest first. */
  readonly ready: SlotList = emptyList();
  /** Waiting for their time, or in flight. */
  readonly away: SlotList = emptyList();
  /** Mail for later: it has no age yet, and would stand before what has. */
  readonly later: SlotList = emptyList();
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

  constructor(parts: {
    id: number;
    lane: Lane;
    site: SiteState;
    tenant: TenantState;
    parent: LaneState | null;
  }) {
    this.id = parts.id;
    this.lane = parts.lane;
    this.site = parts.site;
    this.tenant = parts.tenant;
    this.parent = parts.parent;
  }

  /** It has a use for turns; whether it gets them is another matter. */
  get hasWork(): boolean {
    return (
      (this.ready.length > 0 && !this.parked) || (this.senders !== null && this.senders.ready.head !== null)
    );
  }

  /** It waits for its budget, or the lane that it is a part of does. */
  get isHeld(): boolean {
    if (this.budget !== null && this.ring === this.budget.held) return true;
    return this.parent?.isHeld ?? false;
  }

  get lists(): readonly SlotList[] {
    return [this.ready, this.away, this.later];
  }

  get entries(): number {
    return this.ready.length + this.away.length + this.later.length;
  }
}
