/** A mail as it is owed to each of its recipients, and the entries of a store that have it. Pure. */
import { decodeEnvelope, type Envelope, envelopeHeader } from "#crds/wire/envelope.ts";
import type { Stored } from "./stream.ts";
import type { Process } from "./virtual-time.ts";

/** A host took it. */
export interface Delivery {
  readonly process: Process;
  readonly shard: number;
  /** No copy is stored any more. */
  isClosed: boolean;
  /** Why it may come again; undefined = it must not. */
  excuse: string | undefined;
}

/** One mail as it is owed to one of its recipients, whatever entries that takes: a parent, its child, a moved one. */
export interface Parcel {
  readonly name: string;
  /** Of the last entry for it that was no parent and had not moved. */
  envelope: Envelope | undefined;
  /** The client has its 250. */
  isAccepted: boolean;
  /** Entries that are stored and have it. */
  copies: number;
  /** The store lost one of them. */
  isHurt: boolean;
  /** The store lost it. */
  isLost: boolean;
  /** A host said 2xx or 5xx to it. */
  isSettled: boolean;
  /** What is left of it is stored anew in its own shard, and the entry that it comes from is still there: `stream:seq`. */
  anewFrom: string | undefined;
  /** Where its parent is stored: `stream:seq:`. */
  parentIn: string | undefined;
  /** The owner of its parent died or lost it, so what had come of it may have been unknown to the next one. */
  isSplitAgain: boolean;
  /** Why it may come again whenever it came; undefined = see each delivery. */
  excuse: string | undefined;
  readonly deliveries: Delivery[];
}

export function newParcel(name: string): Parcel {
  return {
    name,
    envelope: undefined,
    isAccepted: false,
    copies: 0,
    isHurt: false,
    isLost: false,
    isSettled: false,
    anewFrom: undefined,
    parentIn: undefined,
    isSplitAgain: false,
    excuse: undefined,
    deliveries: [],
  };
}

export function parcelName(id: string, address: string): string {
  return `${id} to ${address}`;
}

/** Of a message of a stream that is an entry. */
export function entryOf({ subject, headers }: Stored): Envelope | undefined {
  if (!subject.includes(".q.")) return undefined;
  const envelope = decodeEnvelope(headers.get(envelopeHeader) ?? "");
  return envelope.ok ? envelope.value : undefined;
}

/** The same recipients of the same site. */
export function isAlike(one: Envelope, two: Envelope): boolean {
  return one.site === two.site && one.to.join() === two.to.join();
}
