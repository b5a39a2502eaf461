/** What has been empty for a while, in order of time, one at a time: so that forgetting costs O(1) a step. Pure. */
import { tuning } from "./tuning.ts";

export interface Sweepable {
  /** Written by the broom: when it was last noted; Infinity = not noted. */
  emptySince: number;
}

export class Broom<T extends Sweepable> {
  #items: T[] = [];
  #next = 0;

  /** An item noted again waits from then on. */
  note(item: T, now: number): void {
    if (item.emptySince === Number.POSITIVE_INFINITY) this.#items.push(item);
    item.emptySince = now;
  }

  /** The next item whose minute is over, whatever became of it meanwhile. */
  take(now: number): T | undefined {
    const item = this.#items[this.#next];
    if (item === undefined || now - item.emptySince < tuning.forgetAfterMs) return undefined;
    item.emptySince = Number.POSITIVE_INFINITY;
    this.#next++;
    if (this.#next > 1024 && this.#next * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#next);
      this.#next = 0;
    }
    return item;
  }
}
