/** Concurrency at one (source, site): AIMD between 1 and the limit, with Postfix's hysteresis; pure, never fails. */
import { tuning } from "./tuning.ts";

/**
 * Feedback is 1/size both ways: +1 at the END of `size` good deliveries, −1 at the START of `size` failures, so a
 * single failure at a limiter is felt at once and a lone bad host behind a balancer costs no more than it is worth.
 */
export class Window {
  #limit: number;
  /** What the site has shown that it bears; the limit may be below it for a while. */
  #proven: number = tuning.initialWindow;
  #success = 0;
  #failure = 0;

  constructor(limit: number) {
    this.#limit = wholeLimit(limit);
  }

  get size(): number {
    return Math.min(this.#proven, this.#limit);
  }

  setLimit(limit: number): void {
    this.#limit = wholeLimit(limit);
  }

  /** A window that is not used does not grow: it would say nothing about what the site bears. */
  good(busy: number): void {
    const { size } = this;
    if (size >= this.#limit || size >= busy + tuning.initialWindow) return;
    this.#success += 1 / size;
    if (this.#success + 0.5 / size < 1) return;
    this.#proven = size + 1;
    this.#success = 0;
    this.#failure = 0;
  }

  bad(): void {
    const { size } = this;
    this.#failure -= 1 / size;
    if (this.#failure - 0.5 / size >= 0) return;
    this.#proven = Math.max(1, size - 1);
    this.#failure += 1;
    this.#success = 0;
  }

  /** The site said "too much": half of it. */
  halve(): void {
    this.#proven = Math.max(1, this.size >> 1);
    this.#success = 0;
  }

  /** As after an outage, or as handed over: from `size` on. */
  restart(size: number): void {
    this.#proven = wholeLimit(size);
    this.#success = 0;
    this.#failure = 0;
  }
}

/** What is no number of connections is one connection: a limit must not fail open. */
function wholeLimit(limit: number): number {
  return limit >= 1 ? Math.floor(limit) : 1;
}
