/**
 * What other pods store in a shard, as its owner hears it while it happens: the message itself, as it passes the server,
 * and then the acknowledgement with its sequence. Saves the owner the fetch. Only a short cut: what is missed here the
 * tail brings, so nothing is repeated, waited for or reported. Bounded.
 */
import type { Msg } from "@nats-io/transport-node";
import { decodeEnvelope, type Envelope, envelopeHeader } from "#crds/wire/envelope.ts";
import type { Spool } from "./connection.ts";
import { parsePut } from "./outbox.ts";

export interface Arrival {
  readonly seq: number;
  readonly subject: string;
  readonly envelope: Envelope;
  /** Undefined when it is in the body stream. */
  readonly body: Buffer | undefined;
}

export interface Arrivals {
  /** While paused nothing is heard: the owner has more than it can keep in memory. */
  pause(): void;
  resume(): void;
  close(): void;
}

/** Between a message and its acknowledgement lie milliseconds; what waits longer has been refused. */
const maxWaiting = 4_096;
const maxWaitingBytes = 16 * 1024 * 1024;

export function openArrivals(spool: Spool, shard: number, take: (arrival: Arrival) => void): Arrivals {
  const { nc, names } = spool;
  /** By reply subject. */
  const waiting = new Map<string, Msg>();
  let bytes = 0;
  let stops: (() => void)[] = [];

  const forget = (reply: string, message: Msg): void => {
    waiting.delete(reply);
    bytes -= message.data.length;
  };

  const onMessage = (message: Msg): void => {
    const { reply } = message;
    if (reply === undefined || reply === "") return;
    waiting.set(reply, message);
    bytes += message.data.length;
    for (const [oldest, first] of waiting) {
      if (waiting.size <= maxWaiting && bytes <= maxWaitingBytes) break;
      forget(oldest, first);
    }
  };

  const onAcknowledged = (acknowledgement: Msg): void => {
    const message = waiting.get(acknowledgement.subject);
    if (message === undefined) return;
    forget(acknowledgement.subject, message);
    const put = parsePut(acknowledgement.data);
    if (put.kind !== "stored" || put.duplicate) return;
    const decoded = decodeEnvelope(message.headers?.get(envelopeHeader) ?? "");
    // What is damaged the tail reports.
    if (!decoded.ok) return;
    const envelope = decoded.value;
    const arrived = { seq: put.seq, subject: message.subject, envelope };
    if (envelope.bodyChunks > 0) return take({ ...arrived, body: undefined });
    if (message.data.length === envelope.size) take({ ...arrived, body: bodyOf(message) });
    return undefined;
  };

  const hear = (subject: string, heard: (message: Msg) => void): void => {
    const subscription = nc.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        try {
          heard(message);
        } catch (thrown) {
          // nats-core ends its reader when a callback throws: the connection would go silent for ever.
          spool.options.log.error("arrival failed", { shard, error: String(thrown) });
        }
      },
    });
    stops.push(() => subscription.unsubscribe());
  };

  const pause = (): void => {
    for (const stop of stops) stop();
    stops = [];
    waiting.clear();
    bytes = 0;
  };

  const resume = (): void => {
    if (stops.length > 0) return;
    hear(names.foreignFilter(shard), onMessage);
    hear(`${names.ackRoot(shard)}.>`, onAcknowledged);
  };

  resume();
  return { pause, resume, close: pause };
}

/** A copy, unless most of the read it came with is this body: the rest would stay in memory with it. */
function bodyOf({ data }: Msg): Buffer {
  const { buffer, byteOffset, byteLength } = data;
  return buffer.byteLength <= 2 * byteLength
    ? Buffer.from(buffer, byteOffset, byteLength)
    : Buffer.from(data);
}
