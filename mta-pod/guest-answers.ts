/** What the home of a host answers to a guest, as it came over the wire. Pure, never fails. */
import { permitMs } from "./guests.ts";

/** Nothing of it is trusted to be there. */
export interface GuestAnswer {
  readonly handle?: unknown;
  readonly incarnation?: unknown;
  readonly waitedMs?: unknown;
  readonly ms?: unknown;
  readonly handles?: unknown;
  /** Of these connections are asked back. */
  readonly wanted?: unknown;
}

export interface Admitted {
  readonly incarnation: string;
  readonly handle: number;
  /** Monotonic. */
  readonly keptUntil: number;
}

/** It is counted since it was let in, which its home did not say later than it says: from the question on. */
export function admittedIn(answer: GuestAnswer | undefined, askedAt: number): Admitted | undefined {
  const { handle, incarnation, waitedMs } = answer ?? {};
  if (typeof handle !== "number" || typeof incarnation !== "string" || typeof waitedMs !== "number")
    return undefined;
  return { handle, incarnation, keptUntil: askedAt + waitedMs + permitMs };
}

export function isIn(handles: unknown, handle: number): boolean {
  return Array.isArray(handles) && handles.includes(handle);
}
