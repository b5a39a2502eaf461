/**
 * Stores accepted mail: a large body first, then the entry; "stored" means acknowledged by JetStream, and only that
 * stands behind a 250. Everything else is a refusal that the client may repeat; nothing is ever lost silently.
 */
import { type Envelope, encodeEnvelope, envelopeHeader } from "#crds/wire/envelope.ts";
import { storeBody } from "./bodies.ts";
import { createBundleNames } from "./bundle-names.ts";
import { pause, type Spool } from "./connection.ts";
import { createFullness } from "./fullness.ts";
import { maxHeaderBytes } from "./headers.ts";
import { createOutbox, type Put, type Repeats } from "./outbox.ts";

interface Entry {
  readonly shard: number;
  /** With `bodyChunks` > 0 the body is in the body stream already (children, moves) and `body` is not stored. */
  readonly envelope: Envelope;
  readonly body: Buffer;
  /** The Nats-Msg-Id; default the envelope's id. */
  readonly messageId?: string | undefined;
  /**
   * "pod" = our own (a DSN, a child, a move): it may use the 20 % of the stream that intake leaves. Without that, mail
   * whose DSN cannot be stored would never leave a full stream. Default "intake".
   */
  readonly by?: "intake" | "pod" | undefined;
  /** Another pod owns the shard: it is stored so that its owner hears of it at once. Default false. */
  readonly isForeign?: boolean | undefined;
  /** Not held for others to share a write with. Default false. */
  readonly isUrgent?: boolean | undefined;
  /** Asked before it is sent again; "never" = it is refused then. */
  readonly repeats?: (() => Repeats) | undefined;
}

export type Stored =
  /** `bodyChunks` is what the stored envelope says. */
  | {
      readonly kind: "stored";
      readonly seq: number;
      readonly duplicate: boolean;
      readonly bodyChunks: number;
      readonly subject: string;
    }
  | {
      readonly kind: "refused";
      readonly reason: Refusal;
    };

/** "oversized": the recipients do not fit one entry (see `envelopeFits`); the others pass with time. */
type Refusal = "full" | "unavailable" | "overloaded" | "oversized";

export interface Publisher {
  /** `done` is called exactly once, always later. */
  store(entry: Entry, done: (stored: Stored) => void): void;
  /** Entries not answered yet. */
  inFlight(): number;
  /** How full the fullest stream is that this pod stores in, 0 to 1. */
  usedRatio(): number;
  /** Waits for the answers of what is in flight, `graceMs` (default 10 s) at most; the rest is refused. */
  close(graceMs?: number): Promise<void>;
}

export interface PublisherLimits {
  /** Default 4,096. */
  readonly maxInFlight?: number;
  /** Bytes of bodies and envelopes in flight from which on no more are taken: they pass it by one message. Default 64 MB. */
  readonly maxInFlightBytes?: number;
  /** Default 60 s: outlasts a leader election (4–9 s) and a restart, and stays inside the duplicate window. */
  readonly giveUpMs?: number;
}

/** decisions.md 11: entries up to this are one message; more goes to the body stream. */
const maxInlineBytes = 1_000_000;
/** Left of the server's max_payload for headers and their growth on moves. */
const payloadReserve = 64 * 1024;
const assumedMaxPayload = 1024 * 1024;
/** Room for the headers beside the envelope: Nats-Msg-Id, Mb-Retry and the framing. */
const otherHeaderBytes = 1_024;
/** What the server adds to a record, and the subject. */
const recordBytes = 128;
const closePollMs = 20;
/** What an entry still gets when its body took all the time. */
const leastMs = 1_000;

interface Timed {
  readonly encoded: string;
  /** Monotonic. */
  readonly until: number;
}

/** False when the envelope (its recipients, that is) is too long for the headers of one message. */
export function envelopeFits(envelope: Envelope): boolean {
  return fits(encodeEnvelope(envelope));
}

function fits(encoded: string): boolean {
  // No character of UTF-16 takes more than 3 bytes of UTF-8: the exact count is needed only for the largest.
  const most = maxHeaderBytes - otherHeaderBytes;
  return encoded.length * 3 <= most || Buffer.byteLength(encoded) <= most;
}

export function createPublisher(spool: Spool, limits: PublisherLimits = {}): Publisher {
  const { maxInFlight = 4_096, maxInFlightBytes = 64_000_000, giveUpMs = 60_000 } = limits;
  const outbox = createOutbox(spool);
  const bundleNames = createBundleNames(spool.names);
  const forget = spool.onDisconnect(() => bundleNames.renew());
  const fullness = createFullness(spool);
  const { clock } = spool.options;
  let inFlight = 0;
  let inFlightBytes = 0;
  let closed = false;

  const publish = (entry: Entry, { encoded, until }: Timed, done: (stored: Stored) => void): void => {
    const { shard, envelope, body, messageId = envelope.id, isForeign = false, isUrgent, repeats } = entry;
    const { tenant, site } = envelope;
    const subject = bundleNames.subjectFor({ shard, tenant, site, isForeign });
    outbox.put(
      {
        subject,
        replyRoot: isForeign ? spool.names.ackRoot(shard) : undefined,
        isUrgent,
        repeats,
        headers: [
          ["Nats-Msg-Id", messageId],
          [envelopeHeader, encoded],
        ],
        payload: envelope.bodyChunks > 0 ? "" : body,
        giveUpMs: Math.max(leastMs, until - clock.monotonic()),
      },
      (put) => done(storedBy(put, { bodyChunks: envelope.bodyChunks, subject })),
    );
  };

  const storeBoth = (entry: Entry, until: number, done: (stored: Stored) => void): void => {
    const { envelope, body } = entry;
    storeBody({ spool, outbox, id: envelope.id, body, giveUpMs }, (stored) => {
      if (stored.kind !== "stored") return done(storedBy(stored, { bodyChunks: 0, subject: "" }));
      const chunked = { ...envelope, bodyChunks: stored.chunks };
      return publish({ ...entry, envelope: chunked }, { encoded: encodeEnvelope(chunked), until }, done);
    });
  };

  return {
    store(entry, done) {
      const { envelope, body, shard, by = "intake" } = entry;
      const encoded = encodeEnvelope(envelope);
      const bytes = body.length + encoded.length;
      const isInline = envelope.bodyChunks > 0 || bytes <= inlineLimit(spool);
      const entryBytes =
        recordBytes + encoded.length + (isInline && envelope.bodyChunks === 0 ? body.length : 0);
      const refuse = (reason: Refusal): void => {
        setImmediate(done, { kind: "refused", reason });
      };
      if (closed) return refuse("unavailable");
      if (!fits(encoded)) return refuse("oversized");
      // By what is there, not by what it would become: the largest message would be refused for ever.
      if (inFlight >= maxInFlight || inFlightBytes >= maxInFlightBytes) return refuse("overloaded");
      const { names } = spool;
      if (!fullness.take(names.shardStream(shard), entryBytes, by)) return refuse("full");
      if (!isInline && !fullness.take(names.bodyStream, body.length, by)) return refuse("full");
      inFlight++;
      inFlightBytes += bytes;
      const answer = (stored: Stored): void => {
        inFlight--;
        inFlightBytes -= bytes;
        done(stored);
      };
      const until = clock.monotonic() + giveUpMs;
      if (isInline) publish(entry, { encoded, until }, answer);
      else storeBoth(entry, until, answer);
      return undefined;
    },
    inFlight: () => inFlight,
    usedRatio: () => fullness.fullest(),
    async close(graceMs = 10_000) {
      closed = true;
      forget();
      fullness.close();
      const until = clock.monotonic() + graceMs;
      const isOver = (): boolean => inFlight === 0 || spool.closing.aborted || clock.monotonic() >= until;
      while (!isOver()) await pause(spool.timers, closePollMs, spool.closing);
      outbox.close();
    },
  };
}

function storedBy(put: Put, as: { bodyChunks: number; subject: string }): Stored {
  switch (put.kind) {
    case "stored":
      return { kind: "stored", seq: put.seq, duplicate: put.duplicate, ...as };
    case "full":
      return { kind: "refused", reason: "full" };
    case "unavailable":
    // Entries are published without an expectation, so nothing of ours fences them.
    case "fenced":
      return { kind: "refused", reason: "unavailable" };
    default:
      return put satisfies never;
  }
}

function inlineLimit(spool: Spool): number {
  // Unknown for the moments between a disconnect and the next greeting: then the protocol's default is safe.
  const maxPayload = spool.nc.info?.max_payload ?? assumedMaxPayload;
  return Math.max(0, Math.min(maxInlineBytes, maxPayload - payloadReserve));
}
