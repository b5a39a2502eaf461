/**
 * Whose turn it is among the lanes of one site and class: deficit round robin in rounds, one message a turn. Each
 * lane has `weight` turns a round, and they interleave, so a newcomer waits for one turn of each other lane at
 * most, whatever their weights and backlogs. A lane that runs empty and comes back in the same round gets no new
 * turns: sending one at a time buys no larger share. Pure, O(1).
 */
import type { LaneState } from "./lane-state.ts";
import { Ring } from "./ring.ts";

export class FairQueue {
  #round = 0;
  #current = new Ring<LaneState>();
  #following = new Ring<LaneState>();

  get isEmpty(): boolean {
    return this.#current.length === 0 && this.#following.length === 0;
  }

  join(lane: LaneState): void {
    if (lane.ring !== null) return;
    if (lane.round !== this.#round && lane.round !== this.#round + 1) this.#refill(lane, this.#round);
    if (lane.round === this.#round && lane.credit >= 1) this.#current.push(lane);
    else this.#postpone(lane);
  }

  /** The lane whose turn it is; taken by `charge`. */
  peek(): LaneState | null {
    if (this.#current.head === null && this.#following.head !== null) {
      [this.#current, this.#following] = [this.#following, this.#current];
      this.#round++;
    }
    return this.#current.head;
  }

  /** Takes the turn that `peek` showed. */
  charge(lane: LaneState): void {
    lane.credit -= 1;
    this.#current.remove(lane);
    if (lane.credit >= 1) this.#current.push(lane);
    else this.#postpone(lane);
  }

  #postpone(lane: LaneState): void {
    if (lane.round !== this.#round + 1) this.#refill(lane, this.#round + 1);
    this.#following.push(lane);
  }

  #refill(lane: LaneState, round: number): void {
    lane.round = round;
    lane.credit = Math.max(1, Math.floor(lane.tenant.weight));
  }
}
