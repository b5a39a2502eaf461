/** What a listener is given, the bounds that are not options, and what all its sessions share. Types and numbers only. */
import { maxRecipients } from "#crds/values/message-bounds.ts";
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { Log } from "#mta-pod/runtime/log.ts";
import type { InboundHooks, Login } from "#mta-pod/smtp/inbound.ts";
import type { BufferBudget } from "./buffer-budget.ts";

export interface TlsMaterial {
  /** PEM. */
  readonly key: Buffer | string;
  /** PEM, the whole chain. */
  readonly cert: Buffer | string;
}

export interface ListenerOptions {
  readonly name: "smtp" | "submission" | "submissions";
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly reusePort: boolean;
  /** null = no STARTTLS. */
  readonly tls: TlsMaterial | null;
  /** TLS from the first byte; needs `tls`. */
  readonly implicitTls: boolean;
  /** The name in the banner and in the answer to EHLO. */
  readonly hostname: string;
  /** Asked at EHLO (null before a login: the largest of anybody's) and at MAIL. */
  maxMessageBytes(login: Login | null): number;
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  /** Message bytes held by all sessions together, unanswered messages included. */
  readonly maxBufferedBytes: number;
  readonly idleMs: number;
  /** Who may send a password in clear. */
  readonly plaintextAuthFrom: "loopback" | "nobody";
  readonly hooks: InboundHooks;
  /** One for several listeners makes `maxBufferedBytes` a bound on all of them. Default: one of its own. */
  readonly budget?: BufferBudget;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly log?: Log;
  /** How long a client must stay silent before the banner. Default 0: not tested. */
  readonly bannerDelayMs?: number;
  /** How often time-outs are looked for. Default 1,000. */
  readonly sweepMs?: number;
}

/** Bounds a client meets whatever the configuration says. */
export const bounds = {
  /** RFC 5321 §4.5.3.1.4 wants 512; extensions add to it. */
  commandBytes: 2048,
  /** RFC 4954 §4. */
  authLineBytes: 12_288,
  recipients: maxRecipients,
  /**
   * As they are stored (`recipientBytes` of the envelope): all have to fit the headers of one entry. Said at RCPT, where
   * a client sends the rest in another message; at the dot it would try the same again for days.
   */
  recipientBytes: 60_000,
  /** RCPT commands in one transaction, refused ones included. */
  recipientAttempts: 2000,
  protocolErrors: 10,
  /** Commands that bring no message nearer, between two messages. */
  idleCommands: 100,
  failedLogins: 3,
  /** For the greeting and the TLS handshake. */
  handshakeMs: 30_000,
  /** How long a peer may take to close after our last word. */
  lingerMs: 10_000,
  /** Body bytes a second, on the whole body after the first `idleMs`: slower is an attack on our sockets. */
  bodyBytesPerSecond: 512,
} as const;

/** What the sessions of one listener share. */
export interface ListenerContext {
  readonly options: ListenerOptions;
  readonly budget: BufferBudget;
  readonly log: Log;
  /** Monotonic ms as of the last sweep: activity is stamped with it, so that a read costs no look at the clock. */
  now: number;
  /** Finish what is open, start nothing. */
  draining: boolean;
  /** STARTTLS is possible now (a certificate is there). */
  hasTls: boolean;
}
