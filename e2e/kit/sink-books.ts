/** What an auditing sink has seen: each message by its id, delivery reports by the id they speak of, connections and rates by port. */
import { createMeter, type Meter } from "#operator/provider/meter.ts";

interface Arrival {
  count: number;
  /** Milliseconds of `performance.now()` at the reply to the final dot. */
  readonly firstAt: number;
  lastAt: number;
}

export interface Books {
  /** By the recipient's local part: the id, and a dot and a number when the message has several recipients. */
  readonly arrivals: Map<string, Arrival>;
  /** Told 550 at the final dot, by local part: how often. */
  readonly refused: Map<string, number>;
  /** Delivery reports, by the id of the message that came back: how often. */
  readonly returned: Map<string, number>;
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
  };
}

export function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** Notes a message that was taken. */
export function note(books: Books, recipients: readonly string[], message: Buffer): void {
  const { arrivals, damaged } = books;
  const now = performance.now();
  // Field names may change their case on the way, and nodemailer changes it.
  const head = message.toString("latin1", 0, 4096).replace(/^x-test-id:/im, "X-Test-Id:");
  if (/^Content-Type: multipart\/report/im.test(head)) {
    count(books.returned, /^X-Test-Id: (\S+)/im.exec(message.toString("latin1"))?.[1] ?? "");
    return;
  }
  const tail = message.toString("latin1", Math.max(0, message.length - 100)).trimEnd();
  for (const recipient of recipients) {
    const [id = ""] = recipient.split(".");
    if (!head.includes(`X-Test-Id: ${id}\r\n`) || !tail.endsWith(`end of ${id}`)) damaged.push(recipient);
    const known = arrivals.get(recipient);
    if (known === undefined) arrivals.set(recipient, { count: 1, firstAt: now, lastAt: now });
    else {
      known.count++;
      known.lastAt = now;
    }
  }
}
