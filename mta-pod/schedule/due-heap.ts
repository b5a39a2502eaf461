/**
 * When to look at which entry: a binary heap of (time, slot), 12 bytes each. An item is only a reason to look: the
 * reader compares it with the entry, so nothing is ever deleted from the middle. Pure, never fails.
 */
export class DueHeap {
  length = 0;
  #at = new Float64Array(1024);
  #slot = new Uint32Array(1024);

  /** Infinity when empty. */
  topAt(): number {
    return this.length === 0 ? Number.POSITIVE_INFINITY : (this.#at[0] ?? 0);
  }

  topSlot(): number {
    return this.#slot[0] ?? 0;
  }

  push(at: number, slot: number): void {
    if (this.length === this.#at.length) this.#grow();
    let index = this.length++;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const parentAt = this.#at[parent] ?? 0;
      if (parentAt <= at) break;
      this.#at[index] = parentAt;
      this.#slot[index] = this.#slot[parent] ?? 0;
      index = parent;
    }
    this.#at[index] = at;
    this.#slot[index] = slot;
  }

  pop(): void {
    if (this.length === 0) return;
    this.length--;
    this.#sink(0, this.#at[this.length] ?? 0, this.#slot[this.length] ?? 0);
  }

  /** Drops what `keep` refuses and puts the rest in order: O(n), for when stale items pile up. */
  filter(keep: (at: number, slot: number) => boolean): void {
    let kept = 0;
    for (let index = 0; index < this.length; index++) {
      const at = this.#at[index] ?? 0;
      const slot = this.#slot[index] ?? 0;
      if (!keep(at, slot)) continue;
      this.#at[kept] = at;
      this.#slot[kept++] = slot;
    }
    this.length = kept;
    for (let index = (kept >> 1) - 1; index >= 0; index--)
      this.#sink(index, this.#at[index] ?? 0, this.#slot[index] ?? 0);
  }

  #sink(from: number, at: number, slot: number): void {
    let index = from;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.length) break;
      if (child + 1 < this.length && (this.#at[child + 1] ?? 0) < (this.#at[child] ?? 0)) child++;
      const childAt = this.#at[child] ?? 0;
      if (childAt >= at) break;
      this.#at[index] = childAt;
      this.#slot[index] = this.#slot[child] ?? 0;
      index = child;
    }
    this.#at[index] = at;
    this.#slot[index] = slot;
  }

  #grow(): void {
    const at = new Float64Array(this.length * 2);
    const slot = new Uint32Array(this.length * 2);
    at.set(this.#at);
    slot.set(this.#slot);
    this.#at = at;
    this.#slot = slot;
  }
}
