/**
 * What has been empty for a while, in order of time, one at a time: so that forgetting costs O(1) a step. What was noted again
 * meanwhile goes to the end of the line, so that it stands in nobody's way. Pure.
 */
import { tuning } from "./tuning.ts";

export interface Sweepable {
  /** Written by the broom: when it was last noted; Infinity = not noted. */
  emptySince: number;
}

export class Broom<T extends Sweepable> {
  #items: T[] = [];
  /** When each was noted as it came to its place. */
  #notedAt: number[] = [];
  #next = 0;

  /** An item noted again waits from then on. */
  note(item: T, now: number): void {
    if (item.emptySince === Number.POSITIVE_INFINITY) this.#push(item, now);
    item.emptySince = now;
  }

  /** The next item whose minute is over, whatever became of it meanwhile. Looks at one: undefined = it was not that. */
  take(now: number): T | undefined {
    const item = this.#items[this.#next];
    const notedAt = this.#notedAt[this.#next] ?? now;
    if (item === undefined || now - notedAt < tuning.forgetAfterMs) return undefined;
    this.#next++;
    if (this.#next > 1024 && this.#next * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#next);
      this.#notedAt = this.#notedAt.slice(this.#next);
      this.#next = 0;
    }
    if (now - item.emptySince < tuning.forgetAfterMs) {
      this.#push(item, item.emptySince);
      return undefined;
    }
    item.emptySince = Number.POSITIVE_INFINITY;
    return item;
  }

  #push(item: T, notedAt: number): void {
    this.#items.push(item);
    this.#notedAt.push(notedAt);
  }
}
