/** What the home of a host answers to a guest, as it came over the wire. Pure, never fails. */
import { permitMs } from "./guests.ts";

/** Nothing of it is trusted to be there. */
export interface GuestAnswer {
  readonly handle?: unknown;
  readonly isFull?: unknown;
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

/** "full": there is no room for now. "not its": it does not own the place, for all it knows, or says nothing. */
export type Admission = Admitted | "full" | "not its";

/** It is counted since it was let in, which its home did not say later than it says: from the question on. */
export function admissionIn(answer: GuestAnswer | undefined, askedAt: number): Admission {
  const { handle, incarnation, waitedMs, isFull } = answer ?? {};
  if (typeof handle !== "number" || typeof incarnation !== "string" || typeof waitedMs !== "number")
    return isFull === true ? "full" : "not its";
  return { handle, incarnation, keptUntil: askedAt + waitedMs + permitMs };
}

export function isIn(handles: unknown, handle: number): boolean {
  return Array.isArray(handles) && handles.includes(handle);
}
