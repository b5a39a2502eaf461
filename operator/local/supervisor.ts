/** Keeps one child process running: starts it, says when it is ready, starts it again after a wait that grows when it dies. */
import { setTimeout as delay } from "node:timers/promises";

/** A started child. `exited` resolves once, with how it ended in words. */
export interface Started<Facts> {
  readonly facts: Facts;
  readonly exited: Promise<string>;
  /** Asks it to end; resolves when it has. */
  stop(): Promise<void>;
  /** Ends it at once. */
  kill(): void;
}

export interface SupervisorOptions<Facts> {
  /** Resolves when the child is ready; rejects when it ended before. */
  start(): Promise<Started<Facts>>;
  /** After an end that nobody asked for, before the next start. */
  onDeath(facts: Facts, how: string): void;
  /** A start that failed. */
  onFailure(error: unknown): void;
  /** Each time it is ready, the first included. */
  onReady(facts: Facts): void;
}

export interface Supervisor<Facts> {
  /** Of the child that runs now. */
  facts(): Facts | undefined;
  stop(): Promise<void>;
  kill(): void;
}

const firstWaitMs = 200;
const lastWaitMs = 5000;
/** A child that ran this long has earned a quick restart. */
const steadyMs = 30_000;

/** @throws what `start` throws the first time: a child that never came up is a wrong setting, not a death */
export async function supervise<Facts>(options: SupervisorOptions<Facts>): Promise<Supervisor<Facts>> {
  const stopping = new AbortController();
  let current: Started<Facts> | undefined = await options.start();
  options.onReady(current.facts);

  const watch = async (): Promise<void> => {
    let waitMs = firstWaitMs;
    let startedAt = performance.now();
    while (!stopping.signal.aborted) {
      if (current !== undefined) {
        const { facts, exited } = current;
        const how = await exited;
        if (stopping.signal.aborted) return;
        current = undefined;
        options.onDeath(facts, how);
        if (performance.now() - startedAt > steadyMs) waitMs = firstWaitMs;
      }
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
      if (stopping.signal.aborted) return;
      waitMs = Math.min(waitMs * 2, lastWaitMs);
      startedAt = performance.now();
      try {
        current = await options.start();
        options.onReady(current.facts);
      } catch (error) {
        options.onFailure(error);
      }
    }
  };
  const watching = watch();
  return {
    facts: () => current?.facts,
    async stop() {
      stopping.abort();
      // A start that is under way ends first: its child would be nobody's.
      await current?.stop();
      await watching;
      await current?.stop();
    },
    kill() {
      stopping.abort();
      current?.kill();
    },
  };
}
