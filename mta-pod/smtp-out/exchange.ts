/** One mail transaction as a state machine: replies in, what to write out. Pure; ends in exactly one result. */
import { describeReply, maxDescription, type Reply } from "../smtp/reply.ts";
import type { FaultKind, Stage, Transaction, TransactionResult } from "../smtp/transaction.ts";
import type { Extensions } from "./extensions.ts";
import { overRecipientLimit, refusePath } from "./preflight.ts";
import { cleanReply } from "./reply-parser.ts";

export type Step =
  /** A reply is due before anything else can happen. */
  | { readonly kind: "wait" }
  | { readonly kind: "command"; readonly text: string }
  /** Write `lead`, then the message (DATA: stuffed and ended by the dot; BDAT: as it is), then call `bodyWritten`. */
  | { readonly kind: "body"; readonly lead: string; readonly how: "data" | "bdat" }
  /** `reusable` = the session is in step and can carry the next transaction. */
  | { readonly kind: "done"; readonly result: TransactionResult; readonly reusable: boolean };

export interface ExchangeOptions {
  readonly extensions: Extensions;
  /** The transaction before left something open: RSET goes first. */
  readonly reset: boolean;
  /** Bytes of the message on the wire when it is to go by BDAT, in one write with its envelope; undefined = DATA. */
  readonly bdatSize: number | undefined;
}

const wait: Step = { kind: "wait" };
type Expected = "reset" | "mail" | "rcpt" | "data" | "final";

function isComplete(replies: readonly (Reply | undefined)[]): replies is readonly Reply[] {
  return replies.every((found) => found !== undefined);
}

export class Exchange {
  readonly #transaction: Transaction;
  readonly #options: ExchangeOptions;
  readonly #replies: (Reply | undefined)[];
  /** Indices into `to` of the recipients the peer is asked about. */
  readonly #asked: number[] = [];
  #expected: Expected;
  /** How many of `#asked` are answered. */
  #answered = 0;
  #accepted = 0;
  #mailRefusal: Reply | undefined;
  #body: "none" | "writing" | "written" = "none";
  /** The peer still holds an envelope of ours when this one ends. */
  #leavesOpen: boolean;
  #bdatUnknown = false;

  constructor(transaction: Transaction, options: ExchangeOptions) {
    this.#transaction = transaction;
    this.#options = options;
    this.#leavesOpen = options.reset;
    this.#replies = transaction.to.map((path) => refusePath(path, transaction.smtpUtf8));
    for (let index = 0; index < this.#replies.length; index++) {
      if (this.#replies[index] !== undefined) continue;
      if (this.#asked.length < options.extensions.maxRecipients) this.#asked.push(index);
      else this.#replies[index] = overRecipientLimit;
    }
    this.#expected = options.reset ? "reset" : "mail";
  }

  /** CHUNKING is offered and not understood: next time DATA. */
  get bdatUnknown(): boolean {
    return this.#bdatUnknown;
  }

  /** The next transaction of this session has to begin with RSET. */
  get leavesOpen(): boolean {
    return this.#leavesOpen;
  }

  /** The end of the message is written and its reply is due: the peer may have taken the mail. */
  get committed(): boolean {
    return this.#body === "written" && this.#mailRefusal === undefined && !this.#nobodyLeft();
  }

  /** What a fault now would be charged to. */
  get stage(): Stage {
    if (this.committed) return "final";
    if (this.#body === "writing") return "body";
    if (this.#expected === "reset") return "mail";
    return this.#expected;
  }

  /** The reply that is due, for its time-out: a BDAT that went with its envelope is first answered for MAIL. */
  get awaited(): Stage {
    return this.#expected === "reset" ? "mail" : this.#expected;
  }

  start(): Step {
    if (this.#asked.length === 0) return this.#finish(true);
    const { extensions, reset, bdatSize } = this.#options;
    const first = reset ? "RSET\r\n" : "";
    if (!extensions.pipelining) return { kind: "command", text: reset ? first : this.#mail() };
    let text = first + this.#mail();
    for (const index of this.#asked) text += this.#rcpt(index);
    if (bdatSize === undefined) return { kind: "command", text: `${text}DATA\r\n` };
    this.#body = "writing";
    return { kind: "body", lead: `${text}BDAT ${bdatSize} LAST\r\n`, how: "bdat" };
  }

  bodyWritten(): void {
    this.#body = "written";
  }

  /** @param text as the parser gives it: lines joined by LF, not cleaned */
  reply(code: number, text: string): Step {
    if (this.#body === "writing") return this.#early(code, text);
    if (code === 421) return this.#end("refused", "", cleanReply(code, text));
    switch (this.#expected) {
      case "reset":
        // Going on would have MAIL answered with 503, and a mail bounced for a disorder that is ours.
        if (code >= 300) return this.#end("protocol", "the peer refuses RSET: ", cleanReply(code, text));
        this.#expected = "mail";
        this.#leavesOpen = false;
        return this.#options.extensions.pipelining ? wait : { kind: "command", text: this.#mail() };
      case "mail":
        return this.#mailAnswered(code, text);
      case "rcpt":
        return this.#rcptAnswered(code, text);
      case "data":
        return this.#dataAnswered(code, text);
      case "final":
        return this.#finalAnswered(code, text);
      default:
        return this.#expected satisfies never;
    }
  }

  /** The session is lost. What is known by then stands: recipients that all have a reply are answered, not at fault. */
  lost(kind: FaultKind, text: string): TransactionResult {
    return this.#result({ stage: this.stage, kind, text });
  }

  #mailAnswered(code: number, text: string): Step {
    if (code >= 300 && code < 400) return this.#end("protocol", `MAIL is answered with ${code}`);
    if (code >= 400) {
      this.#mailRefusal = cleanReply(code, text);
      if (!this.#options.extensions.pipelining) return this.#finish(true);
    } else this.#leavesOpen = true;
    this.#expected = "rcpt";
    return this.#options.extensions.pipelining
      ? wait
      : { kind: "command", text: this.#rcpt(this.#asked[0] ?? 0) };
  }

  #rcptAnswered(code: number, text: string): Step {
    if (code >= 300 && code < 400) return this.#end("protocol", `RCPT is answered with ${code}`);
    const index = this.#asked[this.#answered] ?? 0;
    this.#answered++;
    if (code < 300) this.#accepted++;
    else this.#replies[index] = cleanReply(code, text);
    const { pipelining } = this.#options.extensions;
    const next = this.#asked[this.#answered];
    if (next !== undefined) return pipelining ? wait : { kind: "command", text: this.#rcpt(next) };
    this.#expected = this.#body === "written" ? "final" : "data";
    if (pipelining) return wait;
    return this.#accepted > 0 ? { kind: "command", text: "DATA\r\n" } : this.#finish(true);
  }

  #dataAnswered(code: number, text: string): Step {
    if (code < 300) return this.#end("protocol", `DATA is answered with ${code}`);
    const wanted = this.#mailRefusal === undefined && this.#accepted > 0;
    if (code >= 400) return this.#finish(true, wanted ? cleanReply(code, text) : undefined);
    this.#expected = "final";
    if (wanted) {
      this.#body = "writing";
      return { kind: "body", lead: "", how: "data" };
    }
    // RFC 2920 §3.1: a peer that says 354 without a recipient is given an empty message, and its verdict ignored.
    return { kind: "command", text: ".\r\n" };
  }

  #finalAnswered(code: number, text: string): Step {
    if (code >= 300 && code < 400) return this.#end("protocol", `the message is answered with ${code}`);
    // RFC 3030 §2: after a refused BDAT the envelope is still there; a final dot ends it either way.
    if (code < 300 || this.#options.bdatSize === undefined) this.#leavesOpen = false;
    else this.#leavesOpen = true;
    const wanted = this.#mailRefusal === undefined && this.#accepted > 0;
    if (wanted && this.#options.bdatSize !== undefined && code >= 500 && code <= 504) {
      // "Unknown command" or "bad sequence" about a BDAT that was in order: the peer's fault, not the message's.
      this.#bdatUnknown = true;
      const answer = cleanReply(code, text);
      return this.#end("protocol", "the peer offers CHUNKING and answers BDAT with ", answer);
    }
    return this.#finish(true, wanted ? cleanReply(code, text) : undefined);
  }

  /** A reply before the message is out. The peer means it, but the rest of the message cannot be taken back. */
  #early(code: number, text: string): Step {
    const answer = cleanReply(code, text);
    if (code === 421) return this.#end("refused", "", answer);
    if (code < 400) return this.#end("protocol", `the message is answered with ${code} before its end`);
    return this.#finish(false, answer);
  }

  #finish(reusable: boolean, answer?: Reply): Step {
    const replies = this.#replies.map((known) => this.#mailRefusal ?? known ?? answer);
    return { kind: "done", result: this.#settle(replies), reusable };
  }

  #settle(replies: readonly (Reply | undefined)[]): TransactionResult {
    if (isComplete(replies)) return { kind: "answered", replies };
    // A pipelined session in which a recipient has no reply by its end would be a bug of this machine.
    return {
      kind: "fault",
      fault: { stage: this.stage, kind: "protocol", text: "recipients without a reply" },
      replies,
    };
  }

  /** @param lead what is said before the peer's own words, where there is an answer */
  #end(kind: FaultKind, lead: string, answer?: Reply): Step {
    // The reply that ends the session is charged to the command it answers, even if the message went out after it.
    const stage: Stage = this.#body === "writing" ? "body" : this.awaited;
    const text = answer === undefined ? lead : `${lead}${describeReply(answer)}`.slice(0, maxDescription);
    const fault =
      answer === undefined ? { stage: this.stage, kind, text } : { stage, kind, text, reply: answer };
    return { kind: "done", result: this.#result(fault), reusable: false };
  }

  #result(fault: { stage: Stage; kind: FaultKind; text: string; reply?: Reply }): TransactionResult {
    const replies = this.#replies.map((known) => this.#mailRefusal ?? known);
    if (isComplete(replies)) return { kind: "answered", replies };
    return { kind: "fault", fault, replies };
  }

  /** Every recipient that was asked about is refused. */
  #nobodyLeft(): boolean {
    return this.#answered === this.#asked.length && this.#accepted === 0;
  }

  #mail(): string {
    const { from, size, eightBit, smtpUtf8 } = this.#transaction;
    const { extensions } = this.#options;
    let text = `MAIL FROM:<${from}>`;
    if (extensions.size) text += ` SIZE=${size}`;
    if (eightBit && extensions.eightBitMime) text += " BODY=8BITMIME";
    if (smtpUtf8) text += " SMTPUTF8";
    return `${text}\r\n`;
  }

  #rcpt(index: number): string {
    return `RCPT TO:<${this.#transaction.to[index] ?? ""}>\r\n`;
  }
}
