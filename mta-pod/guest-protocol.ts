/** What guests ask the home of a host over core NATS, what it answers, and how long that holds (guests.ts, permits.ts). Pure, never fails. */
import { isGuestSite } from "#crds/wire/subject.ts";
import type { SiteLimits } from "./schedule/types.ts";
import type { Identity } from "./spool/lease-record.ts";

/** What is promised holds so long from the moment that it was asked for. */
export const permitMs = 2000;
/** The dot of a guest's message comes so much after its moment at the most, or gets another one: answers and timers take their time. */
export const onTimeMs = 50;
/** By then a guest whose home is gone has seen it, and cut off what is before its dot: so long a new home lets nothing begin. */
export const guestsGoneMs = 3250;
/** A guest waits so long to be let in; then it looks elsewhere, and may come back, behind the others. */
export const admitMs = 8000;
export const guestQuestion = "guest";

/** The answer where others are before it. */
export const full = { isFull: true } as const;

export interface Entering {
  readonly op: "enter";
  /** A guest site's name: where, and by which rule. */
  readonly site: string;
  readonly source: string;
  readonly limits: SiteLimits;
  /** The pod that asks. */
  readonly owner: Identity;
}

/** `incarnation`: that of the pod that let it in. */
export type GuestQuestion =
  | Entering
  | { readonly op: "turn" | "dot"; readonly incarnation: string; readonly handle: number }
  | { readonly op: "stay"; readonly incarnation: string; readonly handles: readonly number[] }
  | { readonly op: "leave"; readonly incarnation: string; readonly handle: number; readonly isGood: boolean };

/** undefined = it is not understood. */
export function questionIn(query: unknown): GuestQuestion | undefined {
  if (typeof query !== "object" || query === null) return undefined;
  const { op, incarnation, handle, handles, isGood } = query as Record<string, unknown>;
  if (op === "enter") return enteringIn(query as Record<string, unknown>);
  if (typeof incarnation !== "string") return undefined;
  if (op === "stay" && Array.isArray(handles) && handles.every((one) => typeof one === "number"))
    return { op, incarnation, handles };
  if (typeof handle !== "number") return undefined;
  if (op === "turn" || op === "dot") return { op, incarnation, handle };
  return op === "leave" ? { op, incarnation, handle, isGood: isGood === true } : undefined;
}

function enteringIn({ site, source, limits, owner }: Record<string, unknown>): Entering | undefined {
  if (typeof site !== "string" || !isGuestSite(site) || typeof source !== "string") return undefined;
  if (typeof limits !== "object" || limits === null || typeof owner !== "object" || owner === null)
    return undefined;
  const { connections, messagesPerSecond, connectionsPerSecond } = limits as Record<string, unknown>;
  const { pod, incarnation } = owner as Record<string, unknown>;
  if (typeof pod !== "string" || typeof incarnation !== "string" || !isAbove(connections)) return undefined;
  return {
    op: "enter",
    site,
    source,
    limits: {
      connections,
      ...(isAbove(messagesPerSecond) ? { messagesPerSecond } : {}),
      ...(isAbove(connectionsPerSecond) ? { connectionsPerSecond } : {}),
    },
    owner: { pod, incarnation },
  };
}

function isAbove(value: unknown): value is number {
  return typeof value === "number" && value > 0;
}

/** What a home answers; nothing of it is trusted to be there. */
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
