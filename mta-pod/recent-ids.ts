/**
 * What was settled here in the last minutes: a publish repeated after a restart of JetStream's leader is stored a second
 * time when the first was delivered and deleted in between (design.md §3). Only settled ones count: an entry that was
 * merely seen may have been lost with the server's unsynced tail, and then its repeat is the mail.
 */
import type { Envelope } from "#crds/wire/envelope.ts";

const keepMs = 180_000;

/** 53 bits of FNV-1a: that two of the 300,000 of three minutes meet has odds of 1 in 200,000. */
function fingerprint(text: string): number {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code, 0x85ebca6b);
  }
  // Never 0, which marks a free slot.
  return (low >>> 0) + ((high >>> 11) & 0x1fffff) * 2 ** 32 || 1;
}

/** Children of one parent share its id and may share its site: their recipients tell them apart. */
function keyOf(envelope: Envelope): number {
  return fingerprint(`${envelope.id}/${envelope.site}/${envelope.to[0] ?? ""}`);
}

/**
 * Numbers above 0 in one typed array with open addressing: half a million of them are nothing that the garbage collector
 * has to walk through, as it would through a Set of numbers too large to be small integers.
 */
class Fingerprints {
  #slots = new Float64Array(1_024);
  #size = 0;

  has(key: number): boolean {
    return this.#slots[this.#slotOf(key)] === key;
  }

  add(key: number): void {
    const slot = this.#slotOf(key);
    if (this.#slots[slot] === key) return;
    this.#slots[slot] = key;
    if (++this.#size * 2 > this.#slots.length) this.#grow();
  }

  /** Where the key is, or would be. */
  #slotOf(key: number): number {
    const mask = this.#slots.length - 1;
    let slot = (key % 0x7fff_ffff) & mask;
    for (;;) {
      const found = this.#slots[slot];
      if (found === key || found === 0) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const former = this.#slots;
    this.#slots = new Float64Array(former.length * 2);
    for (const key of former) if (key !== 0) this.#slots[this.#slotOf(key)] = key;
  }
}

/** Two generations of a set, so that forgetting costs nothing per id. */
export class RecentIds {
  #young = new Fingerprints();
  #old = new Fingerprints();
  #turnedAt = 0;

  settled(envelope: Envelope, monotonicMs: number): void {
    if (monotonicMs - this.#turnedAt > keepMs) {
      this.#old = monotonicMs - this.#turnedAt > 2 * keepMs ? new Fingerprints() : this.#young;
      this.#young = new Fingerprints();
      this.#turnedAt = monotonicMs;
    }
    this.#young.add(keyOf(envelope));
  }

  wasSettled(envelope: Envelope): boolean {
    const key = keyOf(envelope);
    return this.#young.has(key) || this.#old.has(key);
  }
}
