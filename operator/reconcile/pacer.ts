/** When to compile: the first touch at once, more of them together after a quiet 250 ms, 1 s at most (decisions.md 19). Never throws. */
import type { Clock } from "#operator/kube/types.ts";

export interface Pacer {
  touch(): void;
  stop(): void;
}

export interface PacerOptions {
  readonly clock: Clock;
  /** One at a time; must not reject. */
  run(): Promise<void>;
  /** While true, much more is on its way. */
  isFilling(): boolean;
}

const quietMs = 250;
const longestMs = 1000;
const filling = { quietMs: 1000, longestMs: 15_000 } as const;

export function createPacer({ clock, run, isFilling }: PacerOptions): Pacer {
  let isRunning = false;
  let stopped = false;
  let endedAt = Number.NEGATIVE_INFINITY;
  /** Of the first touch that no run has seen yet. */
  let waitingSince: number | undefined;
  let cancel: () => void = () => {};

  const start = (): void => {
    if (isRunning || stopped) return;
    waitingSince = undefined;
    isRunning = true;
    void run().then(() => {
      isRunning = false;
      endedAt = clock.monotonic();
      if (waitingSince !== undefined) plan();
    });
  };
  const plan = (): void => {
    cancel();
    const now = clock.monotonic();
    const pace = isFilling() ? filling : { quietMs, longestMs };
    const leftMs = (waitingSince ?? now) + pace.longestMs - now;
    cancel = clock.after(Math.max(0, Math.min(pace.quietMs, leftMs)), start);
  };
  return {
    touch() {
      if (stopped) return;
      const now = clock.monotonic();
      const isFirst = !isFilling() && waitingSince === undefined && !isRunning && now - endedAt >= quietMs;
      waitingSince ??= now;
      if (isRunning) return;
      if (isFirst) {
        cancel();
        cancel = clock.after(0, start);
      } else plan();
    },
    stop() {
      stopped = true;
      cancel();
    },
  };
}
