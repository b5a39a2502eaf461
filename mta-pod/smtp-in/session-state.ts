/** What one SMTP session knows, and the small steps its verbs are made of. No I/O; never throws. */
import { isAscii } from "node:buffer";
import { formatReply, type Reply, reply } from "#mta-pod/smtp/reply.ts";
import type { Inbound, Login, SessionFacts } from "#mta-pod/smtp/inbound.ts";
import { DotReader } from "#mta-pod/smtp/dot-stuffing.ts";
import { BodyReader, type Content } from "./body-reader.ts";
import { bounds, type ListenerContext } from "./options.ts";

/** What the next bytes from the client are, or why none are read. */
export type Phase =
  | "greeting" // the banner is not out: nothing may come
  | "command"
  | "auth" // a line that answers a 334
  | "data"
  | "chunk" // the octets of a BDAT
  | "waiting" // a hook has not answered: input is kept, the socket paused
  | "tls" // the 220 to STARTTLS is out
  | "closing"; // the last word is said: input is thrown away

/** What a session asks of the connection that carries it. */
export interface Carrier {
  /** False = the client does not read: the carrier stops reading from it until it does. */
  write(text: string): void;
  /** Stop reading until `resume`. */
  pause(): void;
  resume(): void;
  /** Drop what was read in clear and begin the handshake. */
  startTls(): void;
  /** End after what is written; the peer gets a while to close. */
  end(): void;
  destroy(): void;
}

export interface Peer {
  readonly id: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Whether a password may come in clear from there. */
  readonly mayAuthInClear: boolean;
}

/** From MAIL on. */
export interface Transaction {
  readonly from: string;
  readonly smtpUtf8: boolean;
  readonly to: string[];
  readonly body: BodyReader;
  recipientAttempts: number;
  /** Of those in `to`, as they are stored. */
  recipientBytes: number;
  /** "bdat" once a chunk came: then only more of them may. */
  reading: "none" | "bdat";
  dots: DotReader;
}

/** Where an AUTH exchange stands. */
export type AuthStep =
  | { readonly kind: "plain" }
  | { readonly kind: "login-username" }
  | { readonly kind: "login-password"; readonly username: string };

export class SessionState {
  readonly context: ListenerContext;
  readonly carrier: Carrier;
  readonly peer: Peer;
  phase: Phase = "greeting";
  /** Replies not written yet. */
  out = "";
  facts: SessionFacts;
  /** The login came from AUTH, not from the address. */
  authenticated = false;
  isExtended = false;
  transaction: Transaction | null = null;
  /** The last MAIL was refused: what a pipelining client sent behind it is no error of its own. */
  mailRefused = false;
  authStep: AuthStep = { kind: "plain" };
  /** Octets of the current BDAT still to come, whether it is the last, and the reply it gets when it cannot count. */
  chunkLeft = 0;
  chunkIsLast = false;
  chunkRefusal: Reply | null = null;
  protocolErrors = 0;
  idleCommands = 0;
  failedLogins = 0;
  /** Coarse monotonic ms: of the last complete command, body bytes or answer. */
  lastActive: number;
  bodySince = 0;
  /** Goes up with every hook call and reset of the session: a late answer to an earlier one is ignored. */
  epoch = 0;
  /** The client half-closed: it gets its answers, then we end too. */
  peerHasEnded = false;
  /** Set by the session: an answer came later, go on with what was kept. */
  continueReading: () => void = () => {};

  constructor(context: ListenerContext, carrier: Carrier, peer: Peer) {
    this.context = context;
    this.carrier = carrier;
    this.peer = peer;
    this.lastActive = context.now;
    this.facts = {
      id: peer.id,
      remoteAddress: peer.remoteAddress,
      remotePort: peer.remotePort,
      listener: context.options.name,
      helo: "",
      protocol: "SMTP",
      tls: "",
      login: null,
    };
  }

  say(answer: Reply): void {
    this.out += formatReply(answer);
  }

  /** A mistake in the protocol itself; the tenth ends the session. */
  fault(code: number, enhanced: string, text: string): void {
    this.say(reply(code, enhanced, text));
    if (++this.protocolErrors >= bounds.protocolErrors) this.hangUp(421, "4.7.0", "too many errors");
  }

  /** The last reply of the session. */
  hangUp(code: number, enhanced: string, text: string): void {
    this.say(reply(code, enhanced, text));
    this.phase = "closing";
    this.context.log.debug("session closing", { session: this.peer.id, code, text });
  }

  /** Counts a command that brings no message nearer; false = the session is over because of it. */
  allowIdleCommand(): boolean {
    if (++this.idleCommands <= bounds.idleCommands) return true;
    this.hangUp(421, "4.7.0", "too many commands without a message");
    return false;
  }

  mayAuth(): boolean {
    return this.facts.tls !== "" || this.peer.mayAuthInClear;
  }

  /** A new greeting. The login stays, as the client authenticated the connection, not the name it calls itself. */
  greet(helo: string, extended: boolean): void {
    this.dropTransaction();
    this.isExtended = extended;
    const login = this.authenticated
      ? this.facts.login
      : this.context.options.hooks.trusted(this.peer.remoteAddress);
    this.#changeFacts({ helo, login });
  }

  logIn(login: Login): void {
    this.authenticated = true;
    this.#changeFacts({ login });
  }

  /** RFC 3207 §4.2: whatever was said in clear is forgotten. */
  secured(tls: string): void {
    this.dropTransaction();
    this.authenticated = false;
    this.isExtended = false;
    this.#changeFacts({ helo: "", login: null, tls });
  }

  #changeFacts(change: Partial<SessionFacts>): void {
    const next = { ...this.facts, ...change };
    const secure = next.tls === "" ? "" : "S";
    const known = this.authenticated ? "A" : "";
    this.facts = { ...next, protocol: this.isExtended ? `ESMTP${secure}${known}` : "SMTP" };
  }

  openTransaction(from: string, smtpUtf8: boolean): void {
    const { options, budget } = this.context;
    const maxBytes = options.maxMessageBytes(this.facts.login);
    this.mailRefused = false;
    this.transaction = {
      from,
      smtpUtf8,
      to: [],
      body: new BodyReader(maxBytes, budget),
      recipientAttempts: 0,
      recipientBytes: 0,
      reading: "none",
      dots: new DotReader(),
    };
  }

  dropTransaction(): void {
    this.transaction?.body.drop("no-room");
    this.transaction = null;
    this.mailRefused = false;
    this.epoch++;
  }

  /** Hands the message over and waits for the answer, which may come at once. */
  deliver(transaction: Transaction, { bytes: body, room }: Content): void {
    const { budget, options, log } = this.context;
    const held = transaction.body.bytes;
    this.transaction = null;
    this.phase = "waiting";
    const epoch = ++this.epoch;
    let isOpen = true;
    budget.handOver();
    const answer = (answered: Reply): void => {
      if (!isOpen) return;
      isOpen = false;
      budget.answered(held);
      if (this.epoch !== epoch || this.phase !== "waiting") return;
      this.idleCommands = 0;
      this.say(answered);
      this.proceed();
    };
    const { from, to, smtpUtf8 } = transaction;
    const inbound: Inbound = {
      from,
      to,
      body,
      room,
      isLast: budget.isEveryoneWaiting(),
      eightBit: !isAscii(body),
      smtpUtf8,
      session: this.facts,
    };
    try {
      options.hooks.message(inbound, answer);
    } catch (error) {
      log.error("message hook failed", { session: this.peer.id, error: String(error) });
      answer(reply(451, "4.3.0", "local error, try again later"));
    }
  }

  /** A hook answered: commands are read again. */
  proceed(): void {
    this.phase = "command";
    this.lastActive = this.context.now;
    this.continueReading();
  }
}
