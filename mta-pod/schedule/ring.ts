/** Intrusive first-in first-out list of objects: push, take out anywhere, O(1). Pure; an item is in one ring at most. */

export interface RingItem<T extends RingItem<T>> {
  ring: Ring<T> | null;
  ringNext: T | null;
  ringPrevious: T | null;
}

export class Ring<T extends RingItem<T>> {
  head: T | null = null;
  length = 0;
  #tail: T | null = null;

  /** Appends; an item that is in a ring already, this one or another, stays where it is. */
  push(item: T): void {
    if (item.ring !== null) return;
    item.ring = this;
    item.ringNext = null;
    item.ringPrevious = this.#tail;
    if (this.#tail === null) this.head = item;
    else this.#tail.ringNext = item;
    this.#tail = item;
    this.length++;
  }

  /** Takes an item out; one that is not in this ring is left alone. */
  remove(item: T): void {
    if (item.ring !== this) return;
    if (item.ringPrevious === null) this.head = item.ringNext;
    else item.ringPrevious.ringNext = item.ringNext;
    if (item.ringNext === null) this.#tail = item.ringPrevious;
    else item.ringNext.ringPrevious = item.ringPrevious;
    item.ring = null;
    item.ringNext = null;
    item.ringPrevious = null;
    this.length--;
  }
}
