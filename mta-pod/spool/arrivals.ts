/**
 * What other pods store in a shard, as its owner hears it while it happens: the message itself, as it passes the server,
 * and then the acknowledgement with its sequence. Saves the owner the fetch. Only a short cut: what is missed here the
 * tail brings, so nothing is repeated, waited for or reported. Bounded.
 */
import { decodeEnvelope, type Envelope, envelopeHeader } from "#crds/wire/envelope.ts";
import type { Spool } from "./connection.ts";
import type { Frame } from "./frame-reader.ts";
import { parsePut, type Put } from "./outbox.ts";

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

/** A message that passed, until its acknowledgement does. */
interface Heard {
  readonly subject: string;
  /** As it stands in the header. */
  readonly envelope: string;
  readonly body: Buffer;
  /** Monotonic. */
  readonly at: number;
}

type Stored = Extract<Put, { kind: "stored" }>;

/** Between a message and its acknowledgement lie milliseconds; what waits longer has been refused, and its body holds a whole slab. */
const longestWaitMs = 5_000;
const maxWaiting = 4_096;
const maxWaitingBytes = 16 * 1024 * 1024;
/** Acknowledgements that came before their messages: the server stores and sends on side by side, and one in some hundred is overtaken. */
const maxEarly = 256;

export function openArrivals(spool: Spool, shard: number, take: (arrival: Arrival) => void): Arrivals {
  const { names } = spool;
  /** By reply subject. */
  const waiting = new Map<string, Heard>();
  const early = new Map<string, Stored>();
  let bytes = 0;
  let stops: (() => void)[] = [];

  const forget = (reply: string, { body }: Heard): void => {
    waiting.delete(reply);
    bytes -= body.length;
  };

  const give = ({ subject, envelope: text, body }: Heard, { seq }: Stored): void => {
    const decoded = decodeEnvelope(text);
    // What is damaged the tail reports.
    if (!decoded.ok) return;
    const envelope = decoded.value;
    if (envelope.bodyChunks > 0) take({ seq, subject, envelope, body: undefined });
    else if (body.length === envelope.size) take({ seq, subject, envelope, body });
  };

  const onMessage = (frame: Frame): void => {
    const { reply } = frame;
    if (reply === "") return;
    // Copied out of the connection's buffer, which the next read overwrites.
    const body = frame.copy();
    const at = spool.options.clock.monotonic();
    const heard = { subject: frame.subject, envelope: frame.header(envelopeHeader), body, at };
    const stored = early.get(reply);
    if (stored !== undefined) {
      early.delete(reply);
      give(heard, stored);
      return;
    }
    waiting.set(reply, heard);
    bytes += body.length;
    for (const [oldest, first] of waiting) {
      const isBounded = waiting.size <= maxWaiting && bytes <= maxWaitingBytes;
      if (isBounded && at - first.at < longestWaitMs) break;
      forget(oldest, first);
    }
  };

  const onAcknowledged = (frame: Frame): void => {
    const reply = frame.subject;
    const heard = waiting.get(reply);
    if (heard !== undefined) forget(reply, heard);
    const put = parsePut(frame.data);
    if (put.kind !== "stored" || put.duplicate) return;
    if (heard !== undefined) return give(heard, put);
    early.set(reply, put);
    const [oldest = ""] = early.keys();
    if (early.size > maxEarly) early.delete(oldest);
    return undefined;
  };

  const pause = (): void => {
    for (const stop of stops) stop();
    stops = [];
    waiting.clear();
    early.clear();
    bytes = 0;
  };

  const resume = (): void => {
    if (stops.length > 0) return;
    stops = [
      spool.hear(names.foreignFilter(shard), onMessage),
      spool.hear(`${names.ackRoot(shard)}.>`, onAcknowledged),
    ];
  };

  resume();
  return { pause, resume, close: pause };
}
