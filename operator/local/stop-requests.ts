/** SIGINT, SIGTERM and SIGHUP of the runner: the first asks for an orderly end, a second one ends all at once; a repeat is not a second one. */

export interface StopRequests {
  /** Resolves at the first request. */
  readonly first: Promise<void>;
  requested(): boolean;
  /** Runs when somebody insists; the process exits with 130 right after. */
  onForce(kill: () => void): void;
  /** Nobody can insist any more. Repeats of a request are still taken: a signal without a listener would kill the process on its way out. */
  end(): void;
}

/** What asks a program to stop. */
export const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** So soon nobody insists. */
const repeatMs = 500;

/**
 * Calls `then` when no repeat of a signal can be under way any more. A terminal and a service manager signal the whole group at once, and
 * the launcher (and npm above it) passes on what it got itself: one request comes as several signals.
 * @returns what calls it off
 */
export function afterRepeats(then: () => void): () => void {
  // What came while the process was too busy to look is read after timers and before immediates.
  const timer = setTimeout(() => setImmediate(then), repeatMs).unref();
  return () => clearTimeout(timer);
}

export function stopRequests(): StopRequests {
  const kills: (() => void)[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let requested = false;
  let insists = false;
  let callOff = (): void => {};
  const onSignal = (): void => {
    if (insists) {
      for (const kill of kills) kill();
      process.exit(130);
    }
    if (requested) return;
    requested = true;
    callOff = afterRepeats(() => void (insists = true));
    resolve();
  };
  for (const signal of stopSignals) process.on(signal, onSignal);
  return {
    first: promise,
    requested: () => requested,
    onForce: (kill) => void kills.push(kill),
    end() {
      callOff();
      if (requested) return;
      for (const signal of stopSignals) process.off(signal, onSignal);
    },
  };
}
