/** Time and chance as arguments: rooms are handed these, so that tests can hold them still. */

export interface Clock {
  /** Milliseconds since 1970; may jump. */
  now(): number;
  /** Milliseconds since some start; never jumps back, stops in no suspend of the process. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** 0 ≤ value < 1. */
export type Random = () => number;

/** Above this much difference the wall clock was set, not slewed. */
const wallStepMs = 60_000;

export interface SteadyClock extends Clock {
  /** Called with each step that is taken over, before anybody is told the new time. */
  onStep(listener: (byMs: number) => void): void;
}

/**
 * A clock whose `now` goes on by monotonic time from the first reading, so that a small step of the wall clock
 * bunches no rate and skips no wait; a step of a minute or more is taken over, since due times are wall times.
 */
export function steadyClock(clock: Clock): SteadyClock {
  let listener: (byMs: number) => void = () => {};
  let offset = clock.now() - clock.monotonic();
  return {
    monotonic: () => clock.monotonic(),
    onStep(told) {
      listener = told;
    },
    now() {
      const steady = clock.monotonic() + offset;
      const wall = clock.now();
      // Whole milliseconds, as Date.now gives them: times are stored and compared as such.
      if (Math.abs(wall - steady) < wallStepMs) return Math.floor(steady);
      offset = wall - clock.monotonic();
      listener(wall - Math.floor(steady));
      return wall;
    },
  };
}
