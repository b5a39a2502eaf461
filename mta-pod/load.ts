/** CORRIDOR: reads a queued entry for whoever is to handle it: the stored message and, when it was deferred, its state. Never rejects. */
import { formatIssue } from "#crds/values/issue.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf, type Moving } from "#crds/wire/state-record.ts";
import type { Pod } from "./pod.ts";
import type { Entry } from "./schedule/types.ts";

/** An entry in hand, with what its state record says. */
export interface Loaded {
  readonly envelope: Envelope;
  readonly body: Buffer;
  /** Under which it is stored; undefined when that is not known. */
  readonly subject: string | undefined;
  readonly open: readonly number[];
  /** So many of them, the first, are to go next; absent = all. */
  readonly fresh?: number | undefined;
  readonly stateSeq: number;
  readonly leaseSeq: number;
  /** What the attempt before left, "" = there was none. */
  readonly last: string;
  /** Noted deaths of a pod that had it under way; see poison.ts. */
  readonly started: number;
  /** When it was read or stored, monotonic ms; absent = unknown. */
  readonly since?: number;
  readonly moving?: Moving | undefined;
}

/** Some of it was being stored as an entry of its own: that is finished before anything else (rehoming.ts). */
export type LoadedMoving = Loaded & { readonly moving: Moving };

/** "changed": another message is stored there than the one that was indexed. */
type NotLoaded = "gone" | "changed" | "unavailable" | Damaged;

/** Stored, and not to be handled: its envelope cannot be read, or its body is not whole. */
export interface Damaged {
  readonly damaged: string;
  readonly envelope: Envelope | undefined;
}

export function isLoaded(loaded: Loaded | NotLoaded): loaded is Loaded {
  return typeof loaded === "object" && !("damaged" in loaded);
}

export function isMoving(loaded: Loaded): loaded is LoadedMoving {
  return loaded.moving !== undefined;
}

/** `withState` = look for a state record also when no attempt was made. */
export type Load = (entry: Entry, withState?: boolean) => Promise<Loaded | NotLoaded>;

export function createLoad(
  { entries, states, clock }: Pick<Pod, "entries" | "states" | "clock">,
  leaseSeqOf: (shard: number) => number,
): Load {
  return async ({ shard, seq, idHash, attempt }, withState = false) => {
    const since = clock.monotonic();
    const fetched = await entries.fetch(shard, seq);
    if (fetched.kind === "gone" || fetched.kind === "unavailable") return fetched.kind;
    if (fetched.kind === "damaged")
      return { damaged: fetched.issues.map(formatIssue).join("; "), envelope: fetched.envelope };
    const { envelope, body, subject } = fetched;
    if (idHashOf(envelope.id) !== idHash) return "changed";
    const all = envelope.to.map((_, index) => index);
    const leaseSeq = leaseSeqOf(shard);
    const none = { stateSeq: 0, leaseSeq, last: "", started: 0 };
    const asNew: Loaded = { envelope, body, subject, open: all, since, ...none };
    if (attempt === 0 && !withState) return asNew;
    const state = await states.read(shard, seq);
    if (state.kind === "unavailable") return "unavailable";
    if (state.kind === "none" || state.record.idHash !== idHash) return asNew;
    const open = state.record.open.filter((index) => index < all.length);
    const { last, started = 0, fresh, moving } = state.record;
    const left = open.length === 0 ? { open: all } : { open, fresh };
    const isMoving = moving?.open.some((index) => left.open.includes(index)) === true;
    const { stateSeq } = state;
    return { ...asNew, ...left, stateSeq, last, started, moving: isMoving ? moving : undefined };
  };
}
