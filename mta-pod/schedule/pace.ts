/** Even spacing at 97 % of a rate, without bursts; pure. Throws RangeError for a rate that is not above 0. */
import { tuning } from "./tuning.ts";

/**
 * N per second become one every 1 / 0.97 N s, so no half-open sliding second (nor longer period) holds more than N.
 * A late timer may be made good, but only while (1000 + catch-up) / interval + 1 ≤ N still holds with half to spare:
 * without it a rate of 1,000/s would halve on timers of 1 ms; below 35/s there is none.
 */
export class Pace {
  nextAt = 0;
  #intervalMs = 0;
  #catchUpMs = 0;

  /** Undefined = no limit. What was charged already keeps counting, at the new distance. */
  setRate(perSecond: number | undefined): void {
    if (perSecond !== undefined && !(perSecond > 0))
      throw new RangeError(`Cannot pace: expected a rate above 0, got ${perSecond}`);
    const interval = perSecond === undefined ? 0 : 1000 / (tuning.pacedShare * perSecond);
    this.nextAt += interval - this.#intervalMs;
    this.#intervalMs = interval;
    const spare = perSecond === undefined ? 0 : (1000 - 1000 / perSecond) / tuning.pacedShare - 1000;
    this.#catchUpMs = Math.min(tuning.catchUpMs, Math.max(0, spare / 2));
  }

  /** 0 = no limit. */
  get intervalMs(): number {
    return this.#intervalMs;
  }

  /** The last one of `other` counts here as well; it was by `latest`. */
  learn(other: Pace, latest: number): void {
    const last = Math.min(other.nextAt - other.#intervalMs, latest);
    this.nextAt = Math.max(this.nextAt, last + this.#intervalMs);
  }

  /** Somebody else may have sent at `at`: an interval passes from then on, at whatever rate. */
  spent(at: number): void {
    this.nextAt = Math.max(this.nextAt, at + this.#intervalMs);
  }

  isOpen(now: number): boolean {
    return this.nextAt <= now;
  }

  /** `catchUpMs`: a late timer may be made good by this much, where something else keeps the rate exactly. */
  charge(now: number, catchUpMs = 0): void {
    if (this.#intervalMs > 0) this.nextAt = this.#due(now, catchUpMs) + this.#intervalMs;
  }

  /** Takes back one charge. */
  unspend(): void {
    this.nextAt -= this.#intervalMs;
  }

  /** Books the next free moment and answers how long it is until then, in ms. */
  reserve(now: number, catchUpMs = 0): number {
    if (this.#intervalMs === 0) return 0;
    const at = this.#due(now, catchUpMs);
    this.nextAt = at + this.#intervalMs;
    return Math.max(0, Math.ceil(at - now));
  }

  #due(now: number, catchUpMs: number): number {
    return Math.max(this.nextAt, now - Math.max(this.#catchUpMs, catchUpMs));
  }
}
