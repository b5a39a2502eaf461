/** Words of the lease protocol: what one pod knows of one shard's lease, what it is told, what it does. Pure types and small questions. */
import { type Identity, isSame, type LeaseRecord } from "./lease-record.ts";

/** Both clocks at one moment: the wall clock also runs while a machine sleeps, the monotonic one never jumps. */
export interface Reading {
  readonly wall: number;
  readonly mono: number;
}

export interface LeaseTimes {
  readonly ttlMs: number;
  readonly renewEveryMs: number;
  readonly fenceMs: number;
}

export interface Context {
  readonly at: Reading;
  readonly times: LeaseTimes;
}

/** Why a shard could be taken; "resumed" = its owner was this very process, which had fenced itself or lost the epoch. */
export type How = "absent" | "released" | "expired" | "witnessed" | "resumed";
export type LostReason = "fenced" | "taken" | "freed" | "released";

/** "unreadable" = written by a version we do not know: never ours to take. */
export type KeyContent = LeaseRecord | "absent" | "unreadable";

/** What the key held when it was last looked at; revision 0 when it never existed. */
export interface Seen {
  readonly revision: number;
  readonly record: KeyContent;
  /** Monotonic time since when it is known to stand like this. */
  readonly since: number;
  /** First sight of the key by this process: only then may an absent key be taken at once. */
  readonly first: boolean;
}

export interface Grounds {
  readonly how: How;
  /** The record taken over from. */
  readonly from: LeaseRecord | undefined;
}

/** A write that was sent; `renewals` tells it from every other of this incarnation. */
interface Sent {
  readonly renewals: number;
  readonly at: Reading;
}

/** The lease subject's sequence in the shard's stream, by which state writes are fenced. */
type Epoch =
  | { readonly kind: "reading"; readonly op: number | undefined }
  /** `expected` counts as current only once a write that was sent after it was read is known to be applied. */
  | { readonly kind: "proving"; readonly expected: number; readonly after: number }
  | { readonly kind: "publishing"; readonly op: number }
  | { readonly kind: "published"; readonly seq: number };

interface KeyOp {
  readonly id: number;
  readonly kind: "renewal" | "release" | "read";
  readonly renewals: number;
}

export interface Holding {
  readonly kind: "holding";
  readonly revision: number;
  /** When the last write known to be applied was sent: the fence counts from here. */
  readonly confirmed: Reading;
  readonly lastSent: Sent;
  readonly unconfirmed: readonly Sent[];
  /** The one operation on the key that is under way. */
  readonly op: KeyOp | undefined;
  readonly epoch: Epoch;
  readonly grounds: Grounds;
  /** Set once the shard is to be released; from then on nothing may be started. */
  readonly release: { readonly handOver: unknown; readonly isSent: boolean } | undefined;
}

export type Phase =
  | { readonly kind: "outside" }
  /** The key is read again before it is claimed: a watch may have missed that it was written anew. */
  | { readonly kind: "confirming"; readonly op: number; readonly grounds: Grounds }
  | { readonly kind: "reading-epoch"; readonly op: number; readonly grounds: Grounds }
  | {
      readonly kind: "claiming";
      readonly op: number;
      readonly grounds: Grounds;
      readonly expected: number;
      readonly sent: Sent;
    }
  | Holding;

export interface LeaseState {
  readonly self: Identity;
  readonly seen: Seen | undefined;
  /** Writes of this incarnation to this lease so far. */
  readonly renewals: number;
  readonly lastOp: number;
  /**
   * Why the lease was claimed, until it is told owned: with these grounds a claim is resumed whose answer was lost, since
   * its record has taken the place of the one that says what the owner before left.
   */
  readonly untold: Grounds | undefined;
  readonly phase: Phase;
}

export type LeaseInput =
  /** The key as the watch shows it, or as absent once the watch has shown all there is. */
  | { readonly kind: "seen"; readonly revision: number; readonly record: KeyContent }
  /** `wanted` = this pod should own the shard; `former` = an earlier start of this pod, hence known dead. */
  | { readonly kind: "tick"; readonly wanted: boolean; readonly former?: Identity | undefined }
  | { readonly kind: "release"; readonly handOver: unknown }
  /** A state write was refused by the epoch. */
  | { readonly kind: "epoch-lost" }
  | { readonly kind: "written"; readonly op: number; readonly revision: number }
  /** The key or the lease subject does not stand where we expected it. */
  | { readonly kind: "refused"; readonly op: number }
  /** No answer: it may have been applied, or may still be. */
  | { readonly kind: "failed"; readonly op: number }
  | { readonly kind: "read"; readonly op: number; readonly revision: number; readonly record: KeyContent }
  | { readonly kind: "epoch-read"; readonly op: number; readonly seq: number }
  | { readonly kind: "epoch-published"; readonly op: number; readonly seq: number };

export type LeaseAction =
  /** Write the key if it still stands at `expected` (0 = does not exist). */
  | { readonly kind: "write"; readonly op: number; readonly expected: number; readonly record: LeaseRecord }
  | { readonly kind: "read"; readonly op: number }
  /** Last sequence of the shard's lease subject, 0 = none. */
  | { readonly kind: "read-epoch"; readonly op: number }
  | { readonly kind: "publish-epoch"; readonly op: number; readonly expected: number }
  | { readonly kind: "owned"; readonly leaseSeq: number; readonly grounds: Grounds }
  | { readonly kind: "lost"; readonly reason: LostReason };

export interface Step {
  readonly state: LeaseState;
  readonly actions: readonly LeaseAction[];
}

export function openLease(self: Identity): LeaseState {
  return { self, seen: undefined, renewals: 0, lastOp: 0, untold: undefined, phase: { kind: "outside" } };
}

/** By the larger of both clocks: a pod that slept, or whose wall clock jumped, rather stops too early. */
export function elapsedMs(since: Reading, at: Reading): number {
  return Math.max(at.mono - since.mono, at.wall - since.wall);
}

export function isPastFence(holding: Holding, { at, times }: Context): boolean {
  return elapsedMs(holding.confirmed, at) >= times.fenceMs;
}

export function isSameWrite(a: KeyContent, b: KeyContent): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return isSame(a, b) && a.renewals === b.renewals && a.state === b.state;
}

/** Takes in what the key holds; the same write seen again does not start its time anew. */
export function observe(
  state: LeaseState,
  found: { readonly revision: number; readonly record: KeyContent },
  mono: number,
): LeaseState {
  const { seen } = state;
  if (seen !== undefined && seen.revision === found.revision && isSameWrite(seen.record, found.record))
    return state;
  const { revision, record } = found;
  const isOwn = typeof record === "object" && isSame(record, state.self);
  return {
    ...state,
    seen: { revision, record, since: mono, first: seen === undefined },
    untold: isOwn ? state.untold : undefined,
  };
}

export function stay(state: LeaseState): Step {
  return { state, actions: [] };
}
