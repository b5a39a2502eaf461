/** Binary heap of objects by time, each knowing its place, so that times change in O(log n). Pure, never fails. */

export interface Timed {
  /** Set by the heap only. */
  at: number;
  /** −1 = in no heap. */
  heapIndex: number;
}

export class TimerHeap<T extends Timed> {
  readonly #items: T[] = [];

  peek(): T | undefined {
    return this.#items[0];
  }

  /** Adds the item, or moves it to its new time. */
  set(item: T, at: number): void {
    item.at = at;
    if (item.heapIndex < 0) {
      item.heapIndex = this.#items.length;
      this.#items.push(item);
    }
    this.#settle(item);
  }

  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#items[index] = last;
    last.heapIndex = index;
    this.#settle(last);
  }

  /** Moves all times by the same amount: the order stays. */
  shift(byMs: number): void {
    for (const item of this.#items) item.at += byMs;
  }

  #settle(item: T): void {
    let index = item.heapIndex;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#items[parentIndex];
      if (parent === undefined || parent.at <= item.at) break;
      this.#put(parent, index);
      index = parentIndex;
    }
    for (;;) {
      const left = this.#items[2 * index + 1];
      const right = this.#items[2 * index + 2];
      const least = right !== undefined && left !== undefined && right.at < left.at ? right : left;
      if (least === undefined || least.at >= item.at) break;
      const leastIndex = least.heapIndex;
      this.#put(least, index);
      index = leastIndex;
    }
    this.#put(item, index);
  }

  #put(item: T, index: number): void {
    this.#items[index] = item;
    item.heapIndex = index;
  }
}
