/**
 * Virtual time for whole pods: one queue of events, and in place of node's timers and `performance.now` ones that belong to the pod
 * that is running. A pod's clock drifts, its wall clock jumps; frozen (SIGSTOP) nothing of it runs until it wakes, timers
 * first, as in node. Nothing waits: promises are drained between two events.
 */

/** One start of one pod: what it schedules ends with it. */
export interface Process {
  readonly name: string;
  alive: boolean;
  frozenUntil: number;
  /** Of its clock: 1 = as fast as true time. */
  readonly rate: number;
  readonly monoOffset: number;
  wallOffset: number;
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly process: Process | undefined;
  /** 0 = a timer: runs before what came from outside, when a frozen process wakes. */
  readonly urgency: number;
  readonly run: () => void;
}

/** As node's, as far as the product uses it. */
interface Timer {
  isOver: boolean;
  unref(): Timer;
  ref(): Timer;
}

export class VirtualTime {
  now = 0;
  current: Process | undefined;
  steps = 0;
  #order = 0;
  readonly #events: Event[] = [];

  /** Outside of every pod. */
  after(ms: number, run: () => void): void {
    this.#push({ at: this.now + ms, order: ++this.#order, process: undefined, urgency: 1, run });
  }

  /** From outside to a pod, in true ms. */
  arrive(process: Process, ms: number, run: () => void): void {
    this.#push({ at: this.now + ms, order: ++this.#order, process, urgency: 1, run });
  }

  /** A timer of a pod, by its own clock. */
  timer(process: Process, ms: number, run: () => void): void {
    const at = this.now + Math.max(0, ms) / process.rate;
    this.#push({ at, order: ++this.#order, process, urgency: 0, run });
  }

  monotonic(process: Process): number {
    return this.now * process.rate + process.monoOffset;
  }

  wall(process: Process): number {
    return Math.floor(epoch + this.now * process.rate + process.wallOffset);
  }

  /** Runs until `untilMs`, or until `isDone`, which is asked after every step, once all that it began by promises is done. */
  run(untilMs: number, isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          this.current = undefined;
          if (isDone()) return resolve();
          const event = this.#next(untilMs);
          if (event === undefined) {
            this.now = Math.max(this.now, untilMs);
            return resolve();
          }
          this.steps++;
          this.now = Math.max(this.now, event.at);
          this.current = event.process;
          event.run();
        } catch (error) {
          return reject(error instanceof Error ? error : new Error(String(error)));
        }
        // Ticks run when all microtasks have, also those that come of microtasks.
        return queueMicrotask(() => process.nextTick(turn));
      };
      turn();
    });
  }

  #next(untilMs: number): Event | undefined {
    for (;;) {
      const event = this.#events[0];
      if (event === undefined || event.at > untilMs) return undefined;
      this.#pop();
      const { process } = event;
      if (process === undefined) return event;
      if (!process.alive) continue;
      if (event.at >= process.frozenUntil) return event;
      // Taken out in the order in which they were due: so they come when it wakes.
      this.#push({ ...event, at: process.frozenUntil + event.urgency / 1000, order: ++this.#order });
    }
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = events[above] as Event;
      if (isBefore(parent, event)) break;
      events[at] = parent;
      at = above;
    }
    events[at] = event;
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop() as Event;
    if (events.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= events.length) break;
      if (below + 1 < events.length && isBefore(events[below + 1] as Event, events[below] as Event)) below++;
      if (isBefore(last, events[below] as Event)) break;
      events[at] = events[below] as Event;
      at = below;
    }
    events[at] = last;
  }
}

const epoch = 1_700_000_000_000;

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

const real = { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate };

/** While `run` runs, timers and `performance.now()` are those of the pod that is running. One at a time. */
export async function withTimersOf<T>(time: VirtualTime, run: () => Promise<T>): Promise<T> {
  const start = (ms: number, isRepeated: boolean, then: () => void): Timer => {
    const owner = time.current;
    if (owner === undefined) throw new Error("Cannot set a timer: no pod is running");
    const timer: Timer = { isOver: false, unref: () => timer, ref: () => timer };
    const fire = (): void => {
      if (timer.isOver) return;
      if (isRepeated) time.timer(owner, Math.max(1, ms), fire);
      then();
    };
    time.timer(owner, Math.max(1, ms), fire);
    return timer;
  };
  const stop = (timer: Timer | undefined): void => {
    if (timer !== undefined) timer.isOver = true;
  };
  type Then = (...args: unknown[]) => void;
  Object.assign(globalThis, {
    setTimeout: (then: Then, ms = 1, ...args: unknown[]) => start(ms, false, () => then(...args)),
    setInterval: (then: Then, ms = 1, ...args: unknown[]) => start(ms, true, () => then(...args)),
    setImmediate: (then: Then, ...args: unknown[]) => start(0, false, () => then(...args)),
    clearTimeout: stop,
    clearInterval: stop,
  });
  performance.now = () => (time.current === undefined ? time.now : time.monotonic(time.current));
  try {
    return await run();
  } finally {
    Object.assign(globalThis, real);
    // What is left is the prototype's own.
    Reflect.deleteProperty(performance, "now");
  }
}
