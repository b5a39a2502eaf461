/** What an auditing sink has seen: each message by its id, delivery reports by the id they speak of, connections and rates by port. */
import { createMeter, type Meter } from "#operator/provider/meter.ts";

/** Milliseconds of `performance.now()`. */
export interface Copy {
  /** MAIL. */
  readonly begunAt: number;
  /** The reply to the final dot. */
  readonly at: number;
  /** Process id of the pod that sent it; 0 = it did not say (`named-pods.ts`). */
  readonly by: number;
}

export interface Arrival {
  count: number;
  /** Milliseconds of `performance.now()` at the reply to the final dot. */
  readonly firstAt: number;
  lastAt: number;
  /** In the order of their replies. */
  readonly copies: Copy[];
}

export interface Books {
  /** By the recipient's local part: the id, and a dot and a number when the message has several recipients. */
  readonly arrivals: Map<string, Arrival>;
  /** Told 550 at the final dot, by local part. */
  readonly refused: Map<string, Arrival>;
  /** Delivery reports, by the id of the message that came back. */
  readonly returned: Map<string, Arrival>;
  /** Messages that are not what their recipient should have got. */
  readonly damaged: string[];
  /** Times at which a connection that had been silent for 8 s began another message. */
  readonly wokenMails: number[];
  /** Recipients that have had their 451. */
  readonly deferred: Set<string>;
  /** By the sink's port, in its order. */
  readonly meters: Meter[];
  /** Transactions from MAIL to the reply to the final dot. */
  open: number;
  /** By a pod's process id: when it said MAIL, in that order. */
  readonly begun: Map<number, number[]>;
}

export function openBooks(ports: number): Books {
  return {
    arrivals: new Map(),
    refused: new Map(),
    returned: new Map(),
    damaged: [],
    wokenMails: [],
    deferred: new Set(),
    meters: Array.from({ length: ports }, createMeter),
    open: 0,
    begun: new Map(),
  };
}

/** Notes a MAIL of a pod that tells which it is. */
export function noteBegun({ begun }: Books, by: number, at: number): void {
  if (by === 0) return;
  const times = begun.get(by) ?? [];
  begun.set(by, times);
  times.push(at);
}

export function noteCopy(map: Map<string, Arrival>, key: string, copy: Copy): void {
  const known = map.get(key);
  if (known === undefined) {
    map.set(key, { count: 1, firstAt: copy.at, lastAt: copy.at, copies: [copy] });
    return;
  }
  known.count++;
  known.lastAt = copy.at;
  known.copies.push(copy);
}

/** Notes a message that was taken. */
export function note(books: Books, recipients: readonly string[], message: Buffer, copy: Copy): void {
  const { arrivals, damaged } = books;
  // Field names may change their case on the way, and nodemailer changes it.
  const head = message.toString("latin1", 0, 4096).replace(/^x-test-id:/im, "X-Test-Id:");
  if (/^Content-Type: multipart\/report/im.test(head)) {
    noteCopy(books.returned, /^X-Test-Id: (\S+)/im.exec(message.toString("latin1"))?.[1] ?? "", copy);
    return;
  }
  const tail = message.toString("latin1", Math.max(0, message.length - 100)).trimEnd();
  for (const recipient of recipients) {
    const [id = ""] = recipient.split(".");
    if (!head.includes(`X-Test-Id: ${id}\r\n`) || !tail.endsWith(`end of ${id}`)) damaged.push(recipient);
    noteCopy(arrivals, recipient, copy);
  }
}
