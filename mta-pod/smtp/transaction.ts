/** What an outbound SMTP transaction is given and what becomes of it; shared words of smtp-out, settle and deliver. */
import type { Reply } from "./reply.ts";

/** One address to connect to; `host` is the MX or smart host it belongs to. */
export interface Target {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  /** Its connections are counted there, which is not the site that it is connected to for. */
  readonly home?: string;
}

export interface Transaction {
  readonly from: string;
  /** Only the recipients that are still open, 1 or more. */
  readonly to: readonly string[];
  /** The message in pieces (signatures, then the stored bytes): CRLF lines, not dot-stuffed. */
  readonly message: readonly Buffer[];
  /** Bytes of all pieces. */
  readonly size: number;
  readonly eightBit: boolean;
  readonly smtpUtf8: boolean;
  /** The lease fence: asked before MAIL and again right before the final dot; false = do not go on. */
  mayProceed(): boolean;
  /** Asked right before the final dot, by which peers count messages: ms to wait, then asked again; 0 = it is written now. */
  finalDotMs(): number;
}

/** Where a fault struck; "final" = after the final dot, when the peer may already have taken the mail. */
export type Stage = "connect" | "greeting" | "ehlo" | "tls" | "mail" | "rcpt" | "data" | "body" | "final";

/** "proxy": the source's own way out is at fault, the destination was not reached. */
export type FaultKind =
  | "refused"
  | "timeout"
  | "closed"
  | "network"
  | "proxy"
  | "tls"
  | "protocol"
  | "unsupported"
  /** Of what its host may be given nothing is left just now. */
  | "full"
  | "fenced";

/** Trouble that is not a reply, or a reply that ended the connection (421, a refused greeting). */
export interface Fault {
  readonly stage: Stage;
  readonly kind: FaultKind;
  /** For the log and `why`; at most 512 characters, no secrets. Of a refusal: what the peer said, as `describeReply` has it. */
  readonly text: string;
  readonly reply?: Reply;
  /** The target it happened at, when one was reached. */
  readonly target?: Target;
}

export type TransactionResult =
  /** Every recipient has a reply: its own RCPT's when refused, else the one to the final dot (or to MAIL or DATA). */
  | { readonly kind: "answered"; readonly replies: readonly Reply[] }
  /** `replies[i]` is set for recipients that were refused before the fault. `fault.stage === "final"` = may be taken. */
  | { readonly kind: "fault"; readonly fault: Fault; readonly replies: readonly (Reply | undefined)[] };

/** What a ready connection knows of its peer. */
export interface PeerFacts {
  readonly target: Target;
  /** "TLSv1.3 TLS_AES_256_GCM_SHA384", "" in clear. */
  readonly tls: string;
  readonly localAddress: string;
}
