/**
 * Lanes that the budget of their tenant or sender domain holds back. They take no turns, so that they hold up nobody,
 * until time or the end of a dispatch frees them; one wake time per budget, however many lanes. Pure, never fails.
 */
import type { Budget } from "./budget.ts";
import type { HeldTimes } from "./held-times.ts";
import type { LaneState } from "./lane-state.ts";
import type { SiteState } from "./site-state.ts";
import { TimerHeap } from "./timer-heap.ts";
import { tuning } from "./tuning.ts";
import type { Sent } from "./peer-count.ts";
import type { MailTurn } from "./turns.ts";

const never = Number.POSITIVE_INFINITY;

/** What one dispatch draws on; `mail` is its message as that counts it, null = none was booked. */
export interface Draft {
  readonly budget: Budget;
  mail: Sent | null;
}

export class BudgetGate {
  readonly #timers = new TimerHeap<Budget>();
  readonly #held: HeldTimes;
  readonly #rejoin: (lane: LaneState) => void;

  constructor(held: HeldTimes, rejoin: (lane: LaneState) => void) {
    this.#held = held;
    this.#rejoin = rejoin;
  }

  /** The lane whose turn it is, among those that may go on; the others on the way to it are held. null = none may. */
  openLane(site: SiteState, now: number): LaneState | null {
    for (let turn = site.peekLane(); turn !== null; turn = site.peekLane()) {
      if (turn.budget !== null && !turn.budget.isOpen(now)) this.#hold(turn, turn.budget, now);
      else {
        const lane = turn.senders === null ? turn : this.#openPart(turn, now);
        if (lane !== null) return lane;
        turn.ring?.remove(turn);
      }
    }
    return null;
  }

  /** A dispatch of the lane starts. */
  start(lane: LaneState, now: number): Draft[] {
    const drafts: Draft[] = [];
    for (const one of [lane.parent, lane]) if (one !== null) this.join(drafts, one.budget);
    for (const { budget } of drafts) budget.messages.start(now);
    return drafts;
  }

  /** A dispatch under way draws on the budget as well from now on. */
  join(drafts: Draft[], budget: Budget | null): void {
    if (budget === null || drafts.some((draft) => draft.budget === budget)) return;
    budget.busy++;
    drafts.push({ budget, mail: null });
  }

  finish(drafts: readonly Draft[], now: number): void {
    for (const { budget, mail } of drafts) {
      budget.messages.counted.answered(mail, now);
      budget.busy--;
      if (budget.held.length > 0) this.review(budget, now);
    }
  }

  /** Its turn may have passed while the connection was made; undefined = it may be sent, with `book`. */
  turnOf(drafts: readonly Draft[], now: number): MailTurn | undefined {
    let at = now;
    for (const { budget } of drafts) at = Math.max(at, budget.messages.earliest(now));
    if (at <= now) return undefined;
    const ms = Math.ceil(at - now);
    const then = ms > tuning.turnWaitMs ? "requeue" : "ask";
    for (const { budget } of drafts) {
      // Who waits takes that moment, and the next one comes after it; who goes back leaves it to whoever is next.
      if (then === "ask") budget.messages.dispatches.spent(at);
      else budget.messages.dispatches.nextAt = Math.max(budget.messages.dispatches.nextAt, at);
    }
    return { then, ms };
  }

  book(drafts: readonly Draft[], at: number, now: number): void {
    for (const draft of drafts) draft.mail = draft.budget.messages.bookAt(at, now);
  }

  /** Something of it has changed: its lanes go on, or wait until another time. */
  review(budget: Budget, now: number): void {
    if (budget.held.length === 0 || budget.isOpen(now)) this.release(budget, now);
    else if (budget.wakeAt < never) this.#timers.set(budget, budget.wakeAt);
    else this.#timers.remove(budget);
  }

  /** Lets its lanes take turns again; those that may not go on after all will be held anew. */
  release(budget: Budget, now: number): void {
    this.#timers.remove(budget);
    const { heldBy } = budget;
    const ms = budget.site.budgets?.endHold(budget, now) ?? 0;
    if (heldBy !== null && ms > 0) this.#held.add(budget.site.id, heldBy, ms);
    for (let lane = budget.held.head; lane !== null; lane = budget.held.head) {
      budget.held.remove(lane);
      this.#rejoin(lane);
    }
  }

  /** Releases those whose time has come. */
  wake(now: number): void {
    for (
      let budget = this.#timers.peek();
      budget !== undefined && budget.at <= now;
      budget = this.#timers.peek()
    )
      this.release(budget, now);
  }

  /** When `wake` has something to do next, Infinity = never. */
  get nextWakeAt(): number {
    return this.#timers.peek()?.at ?? never;
  }

  shift(byMs: number): void {
    this.#timers.shift(byMs);
  }

  #openPart(turn: LaneState, now: number): LaneState | null {
    const { senders } = turn;
    if (senders === null) return turn;
    for (;;) {
      const part = senders.ready.head;
      const hasOwn = turn.ready.length > 0 && !turn.parked;
      if (hasOwn && (part === null || senders.isOwnTurn)) return turn;
      if (part === null || part.budget === null || part.budget.isOpen(now)) return part;
      this.#hold(part, part.budget, now);
    }
  }

  #hold(lane: LaneState, budget: Budget, now: number): void {
    lane.ring?.remove(lane);
    budget.held.push(lane);
    budget.site.budgets?.beginHold(budget, now);
    if (budget.wakeAt < never) this.#timers.set(budget, budget.wakeAt);
  }
}
