/**
 * The index: which entry is in which lane and state, and when it must be looked at. Every change of state is one of
 * `toReady`, `toWaiting`, `toInflight`, `remove`, which keep lists, counts, timers and turns in step. Never fails.
 *
 * Expiry costs nothing per entry: lanes are first in, first out, so their heads expire first. Only an entry that may
 * stand behind one that expires later has an alarm (12 bytes) in the due heap.
 */
import type { Budget } from "./budget.ts";
import { DueHeap } from "./due-heap.ts";
import { EntryTable, noSlot, slotStates } from "./entry-table.ts";
import type { LaneState } from "./lane-state.ts";
import type { Registry } from "./registry.ts";
import type { SiteState } from "./site-state.ts";
import { appendSlot, prependSlot, unlinkSlot } from "./slot-list.ts";
import { TimerHeap } from "./timer-heap.ts";
import type { EntryState } from "./types.ts";

const compactAbove = 4096;

interface Told {
  onWork(site: SiteState): void;
  /** Of a site that is held back: its work has gone otherwise than by a dispatch. */
  onNoWork(site: SiteState): void;
  onNoneHeld(budget: Budget): void;
}

export class Queue {
  readonly table = new EntryTable();
  readonly #due = new DueHeap();
  readonly #expiry = new TimerHeap<LaneState>();
  readonly #registry: Registry;
  readonly #told: Told;
  #compactAt = compactAbove;

  constructor(registry: Registry, told: Told) {
    this.#registry = registry;
    this.#told = told;
  }

  laneOf(slot: number): LaneState {
    const lane = this.#registry.laneById(this.table.laneOf(slot));
    if (lane === undefined)
      throw new Error(`Cannot find the lane of slot ${slot}: expected it to outlive its entries`);
    return lane;
  }

  stateOf(slot: number): EntryState {
    const state = this.table.stateOf(slot);
    if (state === slotStates.inflight) return "inflight";
    if (state === slotStates.waiting) return "waiting";
    return this.laneOf(slot).parked ? "suspended" : "ready";
  }

  toReady(slot: number, place: "head" | "tail"): void {
    // It is as old as if it had been accepted when its time came.
    if (this.table.isLater(slot)) this.table.setReceivedAt(slot, this.table.dueOf(slot));
    const lane = this.#leave(slot);
    const expiresAt = this.table.expiresAt(slot);
    const old = lane.ready.head;
    if (place === "head") {
      prependSlot(this.table, lane.ready, slot);
      this.#setAlarm(slot);
      if (old !== noSlot && this.table.expiresAt(old) < expiresAt) this.#setAlarm(old);
    } else {
      appendSlot(this.table, lane.ready, slot);
      if (expiresAt < lane.latestExpiry) this.#setAlarm(slot);
    }
    lane.latestExpiry = Math.max(lane.latestExpiry, expiresAt);
    this.table.setState(slot, slotStates.ready);
    if (lane.parked) lane.tenant.suspended++;
    else lane.tenant.ready++;
    if (lane.ready.head === slot && (lane.heapIndex < 0 || expiresAt < lane.at))
      this.#expiry.set(lane, expiresAt);
    this.refresh(lane);
  }

  /** Before its time. */
  wakeNow(slot: number, now: number): void {
    this.table.setDue(slot, now);
    this.toReady(slot, "tail");
  }

  /**
   * An entry that is to wait beyond its expiry is looked at when it expires; one that has expired, at `due`. Mail for later stays that when it
   * waits no shorter than before.
   */
  toWaiting(slot: number, due: number, now: number, isLater = this.#isLaterStill(slot, due)): void {
    const expiresAt = this.table.expiresAt(slot);
    const wakeAt = expiresAt > now ? Math.min(due, expiresAt) : due;
    const lane = this.#leave(slot);
    appendSlot(this.table, isLater ? lane.later : lane.away, slot);
    this.table.setLater(slot, isLater);
    this.table.setState(slot, slotStates.waiting);
    this.table.setDue(slot, wakeAt);
    lane.tenant.waiting++;
    if (!(this.table.hasAlarm(slot) && wakeAt === expiresAt)) this.#push(wakeAt, slot);
    this.refresh(lane);
  }

  toInflight(slot: number): void {
    const lane = this.#leave(slot);
    appendSlot(this.table, lane.away, slot);
    this.table.setState(slot, slotStates.inflight);
    lane.inflight++;
    lane.tenant.inflight++;
    this.refresh(lane);
  }

  remove(slot: number, now: number): void {
    const lane = this.#leave(slot);
    this.table.release(slot);
    this.refresh(lane);
    if (lane.entries === 0) this.#registry.noteEmpty(lane, now);
  }

  /** To another lane, in the state it has. */
  relane(slot: number, to: LaneState, now: number): void {
    const state = this.table.stateOf(slot);
    const isLater = this.table.isLater(slot);
    const from = this.#leave(slot);
    this.table.setState(slot, slotStates.free);
    this.table.setLane(slot, to.id);
    if (state === slotStates.ready) this.toReady(slot, "tail");
    else if (state === slotStates.waiting) this.toWaiting(slot, this.table.dueOf(slot), now, isLater);
    else this.toInflight(slot);
    this.refresh(from);
    if (from.entries === 0) this.#registry.noteEmpty(from, now);
  }

  /** Parks lanes, or sets them going: those whose `parked` has to change. */
  toggle(lanes: readonly LaneState[]): void {
    for (const lane of lanes) {
      lane.parked = !lane.parked;
      const moved = lane.parked ? lane.ready.length : -lane.ready.length;
      lane.tenant.suspended += moved;
      lane.tenant.ready -= moved;
      this.refresh(lane);
    }
  }

  /** Brings the lane's place among the turns in step with what it holds; one that is held stays held. */
  refresh(lane: LaneState): void {
    const { parent } = lane;
    if (parent === null) this.#place(lane);
    else {
      if (!lane.hasWork) this.#leaveTurns(lane);
      else if (lane.ring === null) parent.senders?.ready.push(lane);
      this.#place(parent);
    }
    if (lane.ready.length === 0 && lane.inflight === 0) lane.latestExpiry = Number.NEGATIVE_INFINITY;
  }

  /** The lane is about to be forgotten. */
  forget(lane: LaneState): void {
    this.#expiry.remove(lane);
  }

  /**
   * Handles the first timer that is due: an entry whose time has come becomes ready. Answers its slot when it has
   * expired, `noSlot` when it has not, undefined when no timer is due.
   */
  wake(now: number): number | undefined {
    const lane = this.#expiry.peek();
    if (lane !== undefined && lane.at <= now) return this.#wakeLane(lane, now);
    const at = this.#due.topAt();
    if (at > now) return undefined;
    const slot = this.#due.topSlot();
    this.#due.pop();
    const state = this.table.stateOf(slot);
    const isExpired = this.table.expiresAt(slot) <= now;
    const wasAlarm = this.table.hasAlarm(slot) && at === this.table.expiresAt(slot);
    if (wasAlarm) this.table.setAlarm(slot, false);
    if (state === slotStates.waiting && this.table.dueOf(slot) <= now) {
      if (isExpired) return slot;
      this.toReady(slot, "tail");
    } else if (state === slotStates.ready && wasAlarm && isExpired) {
      // What stands behind it may have counted on it to leave in time.
      const next = this.table.nextOf(slot);
      if (next !== noSlot) this.#setAlarm(next);
      return slot;
    }
    return noSlot;
  }

  /** When `wake` has something to do next, Infinity = never. */
  nextWakeAt(): number {
    while (this.#due.length > 0 && !this.#isLive(this.#due.topAt(), this.#due.topSlot())) this.#due.pop();
    for (;;) {
      const lane = this.#expiry.peek();
      if (lane === undefined) return this.#due.topAt();
      const expiresAt = lane.ready.head === noSlot ? undefined : this.table.expiresAt(lane.ready.head);
      if (expiresAt === undefined) this.#expiry.remove(lane);
      else if (expiresAt > lane.at) this.#expiry.set(lane, expiresAt);
      else return Math.min(lane.at, this.#due.topAt());
    }
  }

  #wakeLane(lane: LaneState, now: number): number {
    const slot = lane.ready.head;
    if (slot === noSlot) {
      this.#expiry.remove(lane);
      return noSlot;
    }
    const expiresAt = this.table.expiresAt(slot);
    if (expiresAt <= now) return slot;
    this.#expiry.set(lane, expiresAt);
    return noSlot;
  }

  /** Takes the slot out of the list of its state, if it has one. */
  #leave(slot: number): LaneState {
    const lane = this.laneOf(slot);
    const state = this.table.stateOf(slot);
    if (state === slotStates.ready) {
      unlinkSlot(this.table, lane.ready, slot);
      if (lane.parked) lane.tenant.suspended--;
      else lane.tenant.ready--;
    } else if (state !== slotStates.free) {
      unlinkSlot(this.table, this.table.isLater(slot) ? lane.later : lane.away, slot);
      this.table.setLater(slot, false);
      if (state === slotStates.waiting) lane.tenant.waiting--;
      else {
        lane.tenant.inflight--;
        lane.inflight--;
      }
    }
    return lane;
  }

  #isLaterStill(slot: number, due: number): boolean {
    return this.table.isLater(slot) && due >= this.table.dueOf(slot);
  }

  #place(lane: LaneState): void {
    if (!lane.hasWork) this.#leaveTurns(lane);
    else if (lane.ring === null) {
      lane.site[lane.lane.class].join(lane);
      this.#told.onWork(lane.site);
    }
  }

  #leaveTurns(lane: LaneState): void {
    lane.ring?.remove(lane);
    const { budget, site } = lane;
    if (budget !== null && budget.heldBy !== null && budget.held.length === 0) this.#told.onNoneHeld(budget);
    if (site.heldFrom > 0 && !site.hasWork) this.#told.onNoWork(site);
  }

  #setAlarm(slot: number): void {
    if (this.table.hasAlarm(slot)) return;
    this.table.setAlarm(slot, true);
    this.#push(this.table.expiresAt(slot), slot);
  }

  #push(at: number, slot: number): void {
    this.#due.push(at, slot);
    if (this.#due.length < this.#compactAt) return;
    this.#due.filter((itemAt, itemSlot) => this.#isLive(itemAt, itemSlot));
    this.#compactAt = Math.max(compactAbove, this.#due.length * 2);
  }

  #isLive(at: number, slot: number): boolean {
    const isDue = this.table.stateOf(slot) === slotStates.waiting && at === this.table.dueOf(slot);
    return isDue || (this.table.hasAlarm(slot) && at === this.table.expiresAt(slot));
  }
}
