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
  return (low >>> 0) + ((high >>> 11) & 0x1fffff) * 2 ** 32;
}

/** Children of one parent share its id and may share its site: their recipients tell them apart. */
function keyOf(envelope: Envelope): number {
  return fingerprint(`${envelope.id}/${envelope.site}/${envelope.to[0] ?? ""}`);
}

/** Two generations of a set, so that forgetting costs nothing per id. */
export class RecentIds {
  #young = new Set<number>();
  #old = new Set<number>();
  #turnedAt = 0;

  settled(envelope: Envelope, monotonicMs: number): void {
    if (monotonicMs - this.#turnedAt > keepMs) {
      this.#old = monotonicMs - this.#turnedAt > 2 * keepMs ? new Set() : this.#young;
      this.#young = new Set();
      this.#turnedAt = monotonicMs;
    }
    this.#young.add(keyOf(envelope));
  }

  wasSettled(envelope: Envelope): boolean {
    const key = keyOf(envelope);
    return this.#young.has(key) || this.#old.has(key);
  }
}
