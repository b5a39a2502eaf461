/**
 * When to compile: an edit at once, more of them together after a quiet 250 ms, 1 s at most (decisions.md 19). What arrives while many
 * more are on their way is taken in seldom, since it rewrites every slot; an edit meanwhile does not wait for it. Never throws.
 */
import type { Clock } from "#operator/kube/types.ts";

/** Whether somebody changed what is in force already, or something new came. */
export type Cause = "edit" | "arrival";

export interface Pacer {
  touch(cause: Cause): void;
  stop(): void;
}

export interface PacerOptions {
  readonly clock: Clock;
  /** One at a time; must not reject. `takesNew`: what has arrived is to be taken in. */
  run(takesNew: boolean): Promise<void>;
  /** While true, much more is on its way. */
  isFilling(): boolean;
}

const paces = {
  edit: { quietMs: 250, longestMs: 1000 },
  /** The first 10,000 tenants of a cluster take half a minute: most of them come in at the end, in one piece. */
  arrival: { quietMs: 1000, longestMs: 20_000 },
} as const;

/** Touches that no run has seen yet, by the monotonic clock. */
interface Waiting {
  readonly since: number;
  readonly last: number;
  /** One alone, after some quiet. */
  readonly isAlone: boolean;
}

export function createPacer({ clock, run, isFilling }: PacerOptions): Pacer {
  let isRunning = false;
  let stopped = false;
  let endedAt = Number.NEGATIVE_INFINITY;
  const waiting: { edit?: Waiting | undefined; arrival?: Waiting | undefined } = {};
  let cancel: () => void = () => {};

  const dueAt = (pace: Cause): number => {
    const touched = waiting[pace];
    if (touched === undefined) return Number.POSITIVE_INFINITY;
    if (touched.isAlone) return touched.since;
    const { quietMs, longestMs } = paces[pace];
    return Math.min(Math.max(touched.last, endedAt) + quietMs, touched.since + longestMs);
  };
  const start = (): void => {
    if (isRunning || stopped) return;
    const takesNew = !isFilling() || dueAt("arrival") <= clock.monotonic();
    waiting.edit = undefined;
    if (takesNew) waiting.arrival = undefined;
    isRunning = true;
    void run(takesNew).then(() => {
      isRunning = false;
      endedAt = clock.monotonic();
      plan();
    });
  };
  const plan = (): void => {
    cancel();
    const at = Math.min(dueAt("edit"), dueAt("arrival"));
    if (at !== Number.POSITIVE_INFINITY) cancel = clock.after(Math.max(0, at - clock.monotonic()), start);
  };
  return {
    touch(cause) {
      if (stopped) return;
      const now = clock.monotonic();
      const pace = cause === "arrival" && isFilling() ? "arrival" : "edit";
      const before = waiting[pace];
      const isFirst = pace === "edit" && before === undefined && !isRunning;
      const isAlone = isFirst && now - endedAt >= paces.edit.quietMs;
      waiting[pace] = { since: before?.since ?? now, last: now, isAlone };
      if (!isRunning) plan();
    },
    stop() {
      stopped = true;
      cancel();
    },
  };
}
