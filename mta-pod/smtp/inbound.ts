/** What a front (SMTP or HTTP) tells the rest of the pod about mail handed in, and what it asks. Types only. */
import type { Reply } from "./reply.ts";

export interface Login {
  /** `namespace/name`. */
  readonly tenant: string;
  readonly credential: string;
  /** The tenant's stream this credential is bound to, null = not bound. */
  readonly stream: string | null;
}

type ListenerName = "smtp" | "submission" | "submissions" | "http";

export interface SessionFacts {
  readonly id: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly listener: ListenerName;
  /** The client's EHLO or HELO argument, "" before it; untrusted, printable ASCII of at most 255 characters. */
  readonly helo: string;
  readonly protocol: "SMTP" | "ESMTP" | "ESMTPS" | "ESMTPA" | "ESMTPSA";
  /** "TLSv1.3 TLS_AES_256_GCM_SHA384", "" in clear. */
  readonly tls: string;
  readonly login: Login | null;
}

export interface Inbound {
  /** Reverse path without brackets. */
  readonly from: string;
  readonly to: readonly string[];
  /** Unstuffed, every line ended by CRLF, no NUL, no trace header added. */
  readonly body: Buffer;
  /** So many bytes in front of the body, in the same memory, may be overwritten by whoever stores it; default 0. */
  readonly room?: number;
  /** Everybody else who is connected waits for an answer as well: to hold it for others to share a write with is in vain. */
  readonly isLast: boolean;
  /** Bytes above 127 occur in the body, whatever BODY= said. */
  readonly eightBit: boolean;
  /** The client may use UTF-8 in addresses and header; whether it does is looked at once the message is there. */
  readonly smtpUtf8: boolean;
  readonly session: SessionFacts;
}

type Authenticated =
  | { readonly ok: true; readonly login: Login }
  | { readonly ok: false; readonly reply: Reply };

export interface InboundHooks {
  /** A rejection of the promise is answered 454 4.7.0. */
  authenticate(session: SessionFacts, username: string, password: string): Promise<Authenticated>;
  /** The login a remote address has without AUTH (`listeners[].trust`), asked at EHLO and HELO. */
  trusted(remoteAddress: string): Login | null;
  /**
   * null accepts; `from` is "" for the null sender, which no front lets in, whatever is answered. `size` is the declared SIZE=, 0 when none was.
   * Asked once more, with the bytes that came, when a body turns out to be too large, so that its refusal is counted like any other.
   */
  mail(session: SessionFacts, from: string, size: number): Reply | null;
  /** null accepts; `to` holds the recipients accepted before `next`. */
  recipient(session: SessionFacts, from: string, to: readonly string[], next: string): Reply | null;
  /** The reply to a message that nobody may be given, whoever it is from; `text` says what it has in it. */
  malformed(session: SessionFacts, from: string, text: string): Reply;
  /** `answer` is called exactly once, now or later; further calls are ignored. */
  message(inbound: Inbound, answer: (reply: Reply) => void): void;
}
