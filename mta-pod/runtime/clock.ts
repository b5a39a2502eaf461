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
