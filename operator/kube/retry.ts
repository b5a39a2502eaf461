/** Which failed calls are made again, and when. Deciding is pure; `retrying` waits by the clock it is given. */
import { pause } from "./clock.ts";
import { KubeError } from "./errors.ts";
import type { Clock, Random, Transport, TransportRequest } from "./types.ts";

const budgetMs = 30_000;
const firstWaitMs = 100;
const maxWaitMs = 5000;

interface Tries {
  /** Failures so far, this one included. */
  readonly failures: number;
  readonly elapsedMs: number;
  /** Whether doing it twice is as good as once. */
  readonly isIdempotent: boolean;
}

/** How long to wait before the next attempt; undefined = give up. Never longer in all than 30 s. */
function waitBeforeRetry(error: KubeError, tries: Tries, random: Random): number | undefined {
  if (!mayRepeat(error, tries.isIdempotent)) return undefined;
  const backOff = Math.min(maxWaitMs, firstWaitMs * 2 ** (tries.failures - 1)) * (0.5 + random() / 2);
  const wait = Math.max(backOff, error.retryAfterMs ?? 0);
  return tries.elapsedMs + wait > budgetMs ? undefined : wait;
}

function mayRepeat({ status, reason, wasSent }: KubeError, isIdempotent: boolean): boolean {
  // Refused before anything was done (priority and fairness), or never arrived.
  if (status === 429 || (status === 0 && !wasSent && reason === "Unreachable")) return true;
  if (!isIdempotent) return false;
  if (status === 0) return reason === "Unreachable" || reason === "Timeout";
  return status >= 500;
}

export interface RetryOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
}

/** `json` with repetitions. Rejects with the last KubeError. */
export function retrying({ transport, clock, random }: RetryOptions) {
  return async (request: TransportRequest, { isIdempotent }: { isIdempotent: boolean }): Promise<unknown> => {
    const startedAt = clock.monotonic();
    for (let failures = 1; ; failures += 1) {
      try {
        return await transport.json(request);
      } catch (error) {
        if (!(error instanceof KubeError)) throw error;
        const elapsedMs = clock.monotonic() - startedAt;
        const wait = waitBeforeRetry(error, { failures, elapsedMs, isIdempotent }, random);
        if (wait === undefined) throw error;
        await pause(clock, wait, request.signal);
      }
    }
  };
}
