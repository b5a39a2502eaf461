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
/** The wall clock is looked at so often: a message asks for the time some thirty times. */
const wallLookMs = 1;

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
  /** Monotonic. */
  let lookedAt = -Infinity;
  return {
    monotonic: () => clock.monotonic(),
    onStep(told) {
      listener = told;
    },
    now() {
      const at = clock.monotonic();
      // Whole milliseconds, as Date.now gives them: times are stored and compared as such.
      const steady = Math.floor(at + offset);
      if (at - lookedAt < wallLookMs) return steady;
      lookedAt = at;
      const wall = clock.now();
      if (Math.abs(wall - steady) < wallStepMs) return steady;
      offset = wall - at;
      listener(wall - steady);
      return wall;
    },
  };
}
