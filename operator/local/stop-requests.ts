/** SIGINT, SIGTERM and SIGHUP of the runner: the first asks for an orderly end, a second SIGINT or SIGTERM ends all at once. */

export interface StopRequests {
  /** Resolves at the first request. */
  readonly first: Promise<void>;
  requested(): boolean;
  /** Runs when somebody insists; the process exits with 130 right after. */
  onForce(kill: () => void): void;
  end(): void;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function stopRequests(): StopRequests {
  const kills: (() => void)[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  let requested = false;
  const onSignal = (): void => {
    if (requested) {
      for (const kill of kills) kill();
      process.exit(130);
    }
    requested = true;
    resolve();
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    first: promise,
    requested: () => requested,
    onForce: (kill) => void kills.push(kill),
    end() {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
