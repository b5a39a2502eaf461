/** After a list or a watch ended: how long to wait, and whether to list again or to watch on. Pure. */
import type { KubeError } from "./errors.ts";
import type { Random } from "./types.ts";

export interface Ended {
  /** undefined: the API server ended it in order. */
  readonly error: KubeError | undefined;
  /** A watch that said something, or stood for a while. */
  readonly wasUseful: boolean;
}

export interface Trouble {
  /** Endings in a row that were not useful. */
  readonly failures: number;
  /** Those among them in which the API server answered, with something other than "too many requests". */
  readonly refusals: number;
}

export interface Plan extends Trouble {
  readonly waitMs: number;
  readonly listAgain: boolean;
}

export const noTrouble: Trouble = { failures: 0, refusals: 0 };

const firstWaitMs = 800;
const maxWaitMs = 30_000;
/** Refused this often, the version we watch from is doubted: etcd may have been restored, with lower versions. */
const maxRefusals = 3;

/** A list may get past these, and a watch from the same version may not: the order is broken, or an event is too large. */
const brokenReasons = new Set(["Disorder", "TooLarge"]);

export function planNext({ error, wasUseful }: Ended, before: Trouble, random: Random): Plan {
  const isBroken = error !== undefined && brokenReasons.has(error.reason);
  const isExpired = isBroken || error?.status === 410;
  const { failures, refusals } = wasUseful && !isBroken ? noTrouble : before;
  if (error === undefined && wasUseful) return { ...noTrouble, waitMs: 0, listAgain: false };
  const isRefusal =
    error !== undefined && error.status !== 429 && (error.status !== 0 || error.reason === "Unreadable");
  const next = { failures: failures + 1, refusals: refusals + (isRefusal ? 1 : 0) };
  const listAgain = isExpired || next.refusals >= maxRefusals;
  // The first list after an expired version, and the first watch after a broken socket, need not wait.
  const isFirst = failures === 0 && (isExpired || wasUseful) && error?.retryAfterMs === undefined;
  const backOff = Math.min(maxWaitMs, firstWaitMs * 2 ** failures) * (0.5 + random());
  const waitMs = isFirst ? 0 : Math.max(Math.min(maxWaitMs, backOff), error?.retryAfterMs ?? 0);
  return { ...next, refusals: listAgain ? 0 : next.refusals, waitMs, listAgain };
}
