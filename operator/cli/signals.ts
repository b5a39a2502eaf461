/** Waiting for the end of a command that runs until it is told to stop. */
import { afterRepeats, stopSignals } from "#operator/local/stop-requests.ts";

/** Resolves at the first SIGINT, SIGTERM or SIGHUP; a later one that is no repeat of it has its usual effect again. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isAsked = false;
    const stop = (signal: NodeJS.Signals): void => {
      resolve(signal);
      if (isAsked) return;
      isAsked = true;
      afterRepeats(() => {
        for (const name of stopSignals) process.off(name, stop);
      });
    };
    for (const name of stopSignals) process.on(name, stop);
  });
}

/**
 * Ends the process here and now where signals still have a listener: taking it apart in order gives them back their usual effect
 * first, and a repeat of the one that stopped it would then kill it.
 */
export function endAfterSignal(): void {
  if (stopSignals.some((name) => process.listenerCount(name) > 0)) process.exit();
}
