/** A pause that doubles with each failure and ends with success; pure, never fails. */
import type { Random } from "#mta-pod/runtime/clock.ts";
import { tuning } from "./tuning.ts";

export interface BackoffTimes {
  readonly firstMs: number;
  readonly maxMs: number;
}

export class Backoff {
  until = 0;
  /** When the running pause was set: what was started before it belongs to the same failure. */
  setAt = 0;
  #strikes = 0;
  readonly #times: BackoffTimes;

  constructor(times: BackoffTimes) {
    this.#times = times;
  }

  /** Answers false for a failure of something begun before the last strike: ten parallel failures are one. */
  strike(startedAt: number, now: number, random: Random): boolean {
    if (this.#strikes > 0 && startedAt <= this.setAt) return false;
    if (now - this.until > this.#times.maxMs) this.#strikes = 0;
    const plain = Math.min(this.#times.maxMs, this.#times.firstMs * 2 ** Math.min(this.#strikes, 30));
    this.#strikes++;
    this.setAt = now;
    this.until = now + plain * (1 - tuning.jitter + 2 * tuning.jitter * random());
    return true;
  }

  reset(): void {
    this.until = 0;
    this.#strikes = 0;
  }

  shift(byMs: number): void {
    if (this.until > 0) this.until += byMs;
    this.setAt += byMs;
  }
}
