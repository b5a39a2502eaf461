/** Timers as an argument: the spool's rooms wait through these, so that tests can hold or fire them. Never fails. */

/** Stops what it was returned for; calling it again does nothing. */
export type Cancel = () => void;

export interface Timers {
  /** Runs once, `ms` from now. */
  after(ms: number, run: () => void): Cancel;
  /** Runs every `ms`. */
  every(ms: number, run: () => void): Cancel;
}

export const systemTimers: Timers = {
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  every(ms, run) {
    const timer = setInterval(run, ms);
    return () => clearInterval(timer);
  },
};
