/** One time limit that is moved often: a timer is only made when the limit comes closer than the timer that runs. */
import type { Clock } from "../runtime/clock.ts";

export class Deadline {
  readonly #clock: Clock;
  readonly #passed: () => void;
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Number.POSITIVE_INFINITY;
  #due = Number.POSITIVE_INFINITY;

  /** @param passed called once per limit that passed, never after `disarm` */
  constructor(clock: Clock, passed: () => void) {
    this.#clock = clock;
    this.#passed = passed;
  }

  /** From now on the limit is `ms` away; whatever it was before is forgotten. */
  arm(ms: number): void {
    this.#due = this.#clock.monotonic() + ms;
    if (this.#timerDue > this.#due) this.#start(ms);
  }

  /** No limit. A timer that runs is left to run out: the next `arm` is likely to find it useful. */
  disarm(): void {
    this.#due = Number.POSITIVE_INFINITY;
  }

  /** For good. */
  [Symbol.dispose](): void {
    this.disarm();
    this.#stop();
  }

  #start(ms: number): void {
    this.#stop();
    this.#timerDue = this.#due;
    this.#timer = setTimeout(() => this.#fire(), Math.ceil(ms));
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerDue = Number.POSITIVE_INFINITY;
  }

  #fire(): void {
    this.#stop();
    if (this.#due === Number.POSITIVE_INFINITY) return;
    const rest = this.#due - this.#clock.monotonic();
    if (rest > 0) return this.#start(rest);
    // A process that was held up finds its timers before its sockets: let what the peer sent in time be read first.
    const due = this.#due;
    setImmediate(() => {
      if (this.#due !== due) return;
      this.disarm();
      this.#passed();
    });
  }
}
