/** Concurrency at one (source, site): AIMD between 1 and the limit, with Postfix's hysteresis; pure, never fails. */
import { tuning } from "./tuning.ts";

/**
 * Feedback is 1/size both ways: +1 at the END of `size` good deliveries, −1 at the START of `size` failures, so a
 * single failure at a limiter is felt at once and a lone bad host behind a balancer costs no more than it is worth.
 */
export class Window {
  size: number;
  #limit: number;
  #success = 0;
  #failure = 0;

  constructor(limit: number) {
    this.#limit = wholeLimit(limit);
    this.size = Math.min(tuning.initialWindow, this.#limit);
  }

  setLimit(limit: number): void {
    this.#limit = wholeLimit(limit);
    this.size = Math.min(this.size, this.#limit);
  }

  /** A window that is not used does not grow: it would say nothing about what the site bears. */
  good(busy: number): void {
    if (this.size >= this.#limit || this.size >= busy + tuning.initialWindow) return;
    const feedback = 1 / this.size;
    this.#success += feedback;
    if (this.#success + feedback / 2 < 1) return;
    this.size++;
    this.#success = 0;
    this.#failure = 0;
  }

  bad(): void {
    const feedback = 1 / this.size;
    this.#failure -= feedback;
    if (this.#failure - feedback / 2 >= 0) return;
    this.size = Math.max(1, this.size - 1);
    this.#failure += 1;
    this.#success = 0;
  }

  /** The site said "too much": half of it. */
  halve(): void {
    this.size = Math.max(1, this.size >> 1);
    this.#success = 0;
  }

  /** As after an outage, or as handed over: from `size` on. */
  restart(size: number): void {
    this.size = Math.min(this.#limit, Math.max(1, size));
    this.#success = 0;
    this.#failure = 0;
  }
}

/** What is no number of connections is one connection: a limit must not fail open. */
function wholeLimit(limit: number): number {
  return limit >= 1 ? Math.floor(limit) : 1;
}
