/**
 * What the pool settled in the last hour, or the last 260,000: a publish repeated after a restart of JetStream's leader is stored a second
 * time when the first was delivered and deleted in between (design.md §3), and a server that was killed can bring back what was deleted
 * (`spool/settled-log.ts`). Only settled ones count: an entry that was merely seen may have been lost with the server's unsynced
 * tail, and then its repeat is the mail.
 */
import { type Envelope, entryName } from "#crds/wire/envelope.ts";
import type { Clock } from "./runtime/clock.ts";
import type { SettledLog } from "./spool/settled-log.ts";

/** decisions.md 14: an hour, at any rate the publisher's time for repeats and the duplicate window many times over. */
const keepMs = 3_600_000;
/** Of one generation, 8 MB: at 1,667 a second these are the last two and a half minutes at least, and publishes are repeated for one. */
const maxKept = 260_000;
const bits21 = 0x1fffff;
const above32 = 2 ** 32;

/** The two numbers of the last `fingerprint`: this runs twice a message, and a pair would be an object each time. */
let first = 0;
let second = 0;

/**
 * 106 bits, into `first` and `second`. Two messages that met would cost the later one its delivery, so the odds must be
 * none: 53 bits would meet once in 200,000 windows of three minutes, that is, every year or two.
 */
function fingerprint(text: string): void {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  let c = 0x7f4a7c15;
  let d = 0x165667b1;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
    c = Math.imul((c << 5) ^ (c >>> 27) ^ code, 0x9e3779b1);
    d = Math.imul((d << 7) ^ (d >>> 25) ^ code, 0xc2b2ae35);
  }
  // The upper bits: they depend on all of every character. Never 0, which marks a free slot.
  first = (a >>> 0) + ((b >>> 11) & bits21) * above32 || 1;
  second = (c >>> 0) + ((d >>> 11) & bits21) * above32;
}

/**
 * Pairs of numbers, the first above 0, in one typed array with open addressing: half a million of them are nothing that the
 * garbage collector has to walk through, as it would through a Set of numbers too large to be small integers.
 */
class Fingerprints {
  #pairs = new Float64Array(2_048);
  size = 0;

  has(one: number, two: number): boolean {
    return this.#pairs[this.#placeOf(one, two)] === one;
  }

  add(one: number, two: number): void {
    const place = this.#placeOf(one, two);
    if (this.#pairs[place] === one) return;
    this.#pairs[place] = one;
    this.#pairs[place + 1] = two;
    if (++this.size * 4 > this.#pairs.length) this.#grow();
  }

  /** Where the pair is, or would be. */
  #placeOf(one: number, two: number): number {
    const last = this.#pairs.length - 1;
    let place = ((one % 0x7fff_ffff) * 2) & last;
    for (;;) {
      const found = this.#pairs[place];
      if (found === 0 || (found === one && this.#pairs[place + 1] === two)) return place;
      place = (place + 2) & last;
    }
  }

  #grow(): void {
    const former = this.#pairs;
    this.#pairs = new Float64Array(former.length * 2);
    for (let from = 0; from < former.length; from += 2) {
      const one = former[from] ?? 0;
      if (one === 0) continue;
      const place = this.#placeOf(one, former[from + 1] ?? 0);
      this.#pairs[place] = one;
      this.#pairs[place + 1] = former[from + 1] ?? 0;
    }
  }
}

/** What is settled, by any pod of the pool. */
export interface Settled {
  note(entry: Envelope): void;
  was(entry: Envelope): boolean;
}

/** Notes are told to the other pods as well. */
export function createSettled(
  recent: RecentIds,
  { settledLog, clock }: { settledLog: Pick<SettledLog, "note">; clock: Pick<Clock, "monotonic"> },
): Settled {
  return {
    note: (entry) => recent.settled(entry, clock.monotonic(), settledLog.note),
    was: (entry) => recent.wasSettled(entry),
  };
}

/** Two generations of a set, so that forgetting costs nothing per id. */
export class RecentIds {
  #young = new Fingerprints();
  #old = new Fingerprints();
  #turnedAt = 0;

  /** `tell` = who else is to know: gets what stands for the entry, to be given to `heard` elsewhere. */
  settled(envelope: Envelope, monotonicMs: number, tell?: (one: number, two: number) => void): void {
    fingerprint(entryName(envelope));
    tell?.(first, second);
    this.heard(first, second, monotonicMs);
  }

  /** It was settled here or by another pod. */
  heard(one: number, two: number, monotonicMs: number): void {
    const age = monotonicMs - this.#turnedAt;
    if (age > keepMs || this.#young.size >= maxKept) {
      this.#old = age > 2 * keepMs ? new Fingerprints() : this.#young;
      this.#young = new Fingerprints();
      this.#turnedAt = monotonicMs;
    }
    this.#young.add(one, two);
  }

  /** It was settled before all that was heard of so far; forgotten first, and left out when there is no room. */
  heardOld(one: number, two: number): void {
    if (this.#old.size < maxKept) this.#old.add(one, two);
  }

  wasSettled(envelope: Envelope): boolean {
    fingerprint(entryName(envelope));
    return this.#young.has(first, second) || this.#old.has(first, second);
  }
}
