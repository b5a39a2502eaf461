/**
 * Entries as columns of typed arrays, with a free list and reused slots. Throws RangeError when full (67 million).
 *
 * A slot costs 59 bytes: 8 seq + 8 received + 8 expires + 8 due + 4 id hash + 4 size + 4 lane + 4 next + 4 previous
 * + 4 meta + 2 attempt + 1 shard. Columns double when full and never shrink: a peak of n entries holds at most
 * 2 n slots. A deferred entry costs 12 bytes more in the due heap.
 */
import type { Entry } from "./types.ts";

export const noSlot = -1;
export const slotStates = { free: 0, ready: 1, waiting: 2, inflight: 3 } as const;
export type SlotState = (typeof slotStates)[keyof typeof slotStates];

const slotSpan = 2 ** 26;
/** Meta: generation << 8 | later << 3 | alarm << 2 | state. */
const alarmBit = 4;
const laterBit = 8;

function isSlotState(value: number): value is SlotState {
  return value >= 0 && value <= 3;
}

export class EntryTable {
  /** Slots ever used: what a walk over all entries has to visit. */
  used = 0;
  #free = noSlot;
  #seq = new Float64Array(1024);
  #receivedAt = new Float64Array(1024);
  #expiresAt = new Float64Array(1024);
  #due = new Float64Array(1024);
  #idHash = new Uint32Array(1024);
  #size = new Uint32Array(1024);
  #lane = new Uint32Array(1024);
  #next = new Int32Array(1024);
  #previous = new Int32Array(1024);
  #meta = new Uint32Array(1024);
  #attempt = new Uint16Array(1024);
  #shard = new Uint8Array(1024);
  readonly #ofShard = new Uint32Array(256);

  /** The new slot is in state `free` until told otherwise. */
  take(entry: Entry, lane: number): number {
    if (entry.shard > 255)
      throw new RangeError(`Cannot index an entry: expected shard ≤ 255, got ${entry.shard}`);
    if (!(entry.expiresAt >= 0 && entry.receivedAt >= 0 && entry.due >= 0))
      throw new RangeError(`Cannot index an entry: expected times, got ${JSON.stringify(entry)}`);
    const slot = this.#takeSlot();
    this.#seq[slot] = entry.seq;
    this.#receivedAt[slot] = entry.receivedAt;
    this.#expiresAt[slot] = entry.expiresAt;
    this.#due[slot] = entry.due;
    this.#idHash[slot] = entry.idHash;
    this.#size[slot] = entry.size;
    this.#lane[slot] = lane;
    this.#attempt[slot] = Math.min(entry.attempt, 65_535);
    this.#shard[slot] = entry.shard;
    this.#ofShard[entry.shard] = this.sizeOf(entry.shard) + 1;
    return slot;
  }

  /** Every handle of this slot is stale from here on. */
  release(slot: number): void {
    const generation = (this.#meta[slot] ?? 0) >>> 8;
    const shard = this.shardOf(slot);
    this.#ofShard[shard] = this.sizeOf(shard) - 1;
    this.#meta[slot] = (((generation + 1) & 0xffffff) << 8) >>> 0;
    this.#next[slot] = this.#free;
    this.#free = slot;
  }

  /** Entries of the shard, in whatever state. */
  sizeOf(shard: number): number {
    return this.#ofShard[shard] ?? 0;
  }

  /** Looks at every slot: for checks, not for every message. */
  holds(shard: number, seq: number): boolean {
    for (let slot = this.#seq.indexOf(seq); slot >= 0; slot = this.#seq.indexOf(seq, slot + 1))
      if (slot < this.used && this.shardOf(slot) === shard && this.stateOf(slot) !== slotStates.free)
        return true;
    return false;
  }

  /** Slots of the entries with this hash; looks at every slot, some ns each. */
  *withIdHash(idHash: number): Iterable<number> {
    for (let slot = this.#idHash.indexOf(idHash); slot >= 0; slot = this.#idHash.indexOf(idHash, slot + 1))
      if (slot < this.used && this.stateOf(slot) !== slotStates.free) yield slot;
  }

  handleOf(slot: number): number {
    return ((this.#meta[slot] ?? 0) >>> 8) * slotSpan + slot;
  }

  /** `noSlot` for a handle whose entry is gone. */
  slotOf(handle: number): number {
    const slot = handle % slotSpan;
    if (!(slot >= 0 && slot < this.used) || this.stateOf(slot) === slotStates.free) return noSlot;
    return this.handleOf(slot) === handle ? slot : noSlot;
  }

  stateOf(slot: number): SlotState {
    const state = (this.#meta[slot] ?? 0) & 3;
    return isSlotState(state) ? state : slotStates.free;
  }

  setState(slot: number, state: SlotState): void {
    this.#meta[slot] = (((this.#meta[slot] ?? 0) & ~3) | state) >>> 0;
  }

  /** True when the due heap holds an item for this slot at its expiry. */
  hasAlarm(slot: number): boolean {
    return ((this.#meta[slot] ?? 0) & alarmBit) !== 0;
  }

  setAlarm(slot: number, set: boolean): void {
    const meta = this.#meta[slot] ?? 0;
    this.#meta[slot] = (set ? meta | alarmBit : meta & ~alarmBit) >>> 0;
  }

  /** True for mail for later whose time has not come. */
  isLater(slot: number): boolean {
    return ((this.#meta[slot] ?? 0) & laterBit) !== 0;
  }

  setLater(slot: number, set: boolean): void {
    const meta = this.#meta[slot] ?? 0;
    this.#meta[slot] = (set ? meta | laterBit : meta & ~laterBit) >>> 0;
  }

  shardOf(slot: number): number {
    return this.#shard[slot] ?? 0;
  }

  laneOf(slot: number): number {
    return this.#lane[slot] ?? 0;
  }

  setLane(slot: number, lane: number): void {
    this.#lane[slot] = lane;
  }

  receivedAt(slot: number): number {
    return this.#receivedAt[slot] ?? 0;
  }

  setReceivedAt(slot: number, at: number): void {
    this.#receivedAt[slot] = at;
  }

  expiresAt(slot: number): number {
    return this.#expiresAt[slot] ?? 0;
  }

  dueOf(slot: number): number {
    return this.#due[slot] ?? 0;
  }

  setDue(slot: number, due: number): void {
    this.#due[slot] = due;
  }

  setAttempt(slot: number, attempt: number): void {
    this.#attempt[slot] = Math.min(attempt, 65_535);
  }

  nextOf(slot: number): number {
    return this.#next[slot] ?? noSlot;
  }

  setNext(slot: number, next: number): void {
    this.#next[slot] = next;
  }

  previousOf(slot: number): number {
    return this.#previous[slot] ?? noSlot;
  }

  setPrevious(slot: number, previous: number): void {
    this.#previous[slot] = previous;
  }

  entryAt(slot: number): Entry {
    return {
      shard: this.shardOf(slot),
      seq: this.#seq[slot] ?? 0,
      idHash: this.#idHash[slot] ?? 0,
      size: this.#size[slot] ?? 0,
      receivedAt: this.receivedAt(slot),
      expiresAt: this.expiresAt(slot),
      due: this.dueOf(slot),
      attempt: this.#attempt[slot] ?? 0,
    };
  }

  #takeSlot(): number {
    const slot = this.#free;
    if (slot !== noSlot) {
      this.#free = this.nextOf(slot);
      return slot;
    }
    if (this.used === this.#seq.length) this.#grow(this.used * 2);
    return this.used++;
  }

  #grow(capacity: number): void {
    if (capacity > slotSpan) throw new RangeError(`Cannot index more than ${slotSpan} entries in one pod`);
    this.#seq = copyInto(new Float64Array(capacity), this.#seq);
    this.#receivedAt = copyInto(new Float64Array(capacity), this.#receivedAt);
    this.#expiresAt = copyInto(new Float64Array(capacity), this.#expiresAt);
    this.#due = copyInto(new Float64Array(capacity), this.#due);
    this.#idHash = copyInto(new Uint32Array(capacity), this.#idHash);
    this.#size = copyInto(new Uint32Array(capacity), this.#size);
    this.#lane = copyInto(new Uint32Array(capacity), this.#lane);
    this.#next = copyInto(new Int32Array(capacity), this.#next);
    this.#previous = copyInto(new Int32Array(capacity), this.#previous);
    this.#meta = copyInto(new Uint32Array(capacity), this.#meta);
    this.#attempt = copyInto(new Uint16Array(capacity), this.#attempt);
    this.#shard = copyInto(new Uint8Array(capacity), this.#shard);
  }
}

function copyInto<T extends { set(from: ArrayLike<number>): void }>(target: T, from: ArrayLike<number>): T {
  target.set(from);
  return target;
}
