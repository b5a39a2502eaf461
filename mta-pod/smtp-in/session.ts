/** Reads what an SMTP client sends and drives its session. No I/O of its own; hostile input ends in a reply, not a throw. */
import { isUtf8 } from "node:buffer";
import { endBody, endChunk, endHopeless } from "./verbs/message.ts";
import { continueAuth } from "./verbs/auth.ts";
import { bounds } from "./options.ts";
import type { SessionState, Transaction } from "./session-state.ts";
import { httpMethods, verbs } from "./verb-table.ts";

const empty = Buffer.alloc(0);

export class Session {
  readonly state: SessionState;
  /** Bytes read but not understood yet: the start of a line, or what was pipelined while a hook thinks. */
  #rest: Buffer = empty;
  #isRunning = false;
  #isPaused = false;
  readonly #resume = (): void => this.#roomAgain();

  constructor(state: SessionState) {
    this.state = state;
    state.continueReading = () => {
      if (!this.#isRunning) this.#goOn();
    };
  }

  /** The connection is ready: for the banner, or (after STARTTLS) for a new EHLO. */
  greet(): void {
    const { state } = this;
    if (state.phase !== "greeting") return;
    state.phase = "command";
    state.lastActive = state.context.now;
    state.out += `220 ${state.context.options.hostname} ESMTP\r\n`;
    this.#flush();
  }

  /** The handshake is done: everything said in clear is forgotten; the banner still to come stays so. */
  secured(tls: string): void {
    this.#rest = empty;
    this.state.secured(tls);
    if (this.state.phase === "tls") this.state.phase = "command";
    this.state.lastActive = this.state.context.now;
  }

  /** The one listener for data. */
  feed(chunk: Buffer): void {
    const { state } = this;
    switch (state.phase) {
      case "closing":
      case "tls":
        return;
      case "greeting":
        state.hangUp(554, "5.5.1", "you talk before the greeting");
        this.#flush();
        return;
      case "waiting":
        this.#keep(chunk);
        this.#pause();
        return;
      case "command":
      case "auth":
      case "data":
      case "chunk":
        if (this.#isPaused) this.#keep(chunk);
        else this.#run(this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]));
        return;
      default:
        return state.phase satisfies never;
    }
  }

  /** Nothing more will come. What the client still waits for is answered first. */
  peerEnded(): void {
    this.state.peerHasEnded = true;
    if (this.state.phase !== "waiting" && !this.#isPaused) this.#finish();
  }

  /** The connection is gone. */
  closed(): void {
    this.state.dropTransaction();
    this.state.phase = "closing";
    this.#rest = empty;
    this.state.context.budget.forget(this.#resume);
  }

  /** Ends the session with a reply that nothing the client said has asked for. */
  interrupt(code: number, enhanced: string, text: string): void {
    this.state.hangUp(code, enhanced, text);
    this.#flush();
  }

  /** No transaction is open and nothing is being answered. */
  isIdle(): boolean {
    const { phase, transaction } = this.state;
    return (
      phase === "greeting" ||
      phase === "auth" ||
      (phase === "command" && transaction === null && this.#rest.length === 0)
    );
  }

  /** Input is held back by us, so that silence is not the client's. */
  isHeldBack(): boolean {
    return this.#isPaused || this.state.phase === "waiting";
  }

  #keep(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.state.carrier.pause();
  }

  /** Reads on after a pause or a late answer. */
  #goOn(): void {
    const rest = this.#rest;
    this.#rest = empty;
    if (this.#isPaused) {
      this.#isPaused = false;
      this.state.carrier.resume();
    }
    this.#run(rest);
    if (this.state.peerHasEnded && this.state.phase !== "waiting" && !this.#isPaused) this.#finish();
  }

  #finish(): void {
    if (this.state.phase === "closing") return;
    this.state.phase = "closing";
    this.#flush();
  }

  #run(input: Buffer): void {
    const { state } = this;
    this.#rest = empty;
    this.#isRunning = true;
    let position = 0;
    while (position < input.length && !this.#isPaused) {
      if (state.phase === "command" || state.phase === "auth") position = this.#readLine(input, position);
      else if (state.phase === "data") position = this.#readData(input, position);
      else if (state.phase === "chunk") position = this.#readChunk(input, position);
      else break;
      this.#endIfDraining();
    }
    this.#isRunning = false;
    if (position < input.length && (state.phase === "waiting" || this.#isPaused)) {
      this.#rest = input.subarray(position);
      this.#pause();
    }
    this.#endIfDraining();
    this.#flush();
  }

  #endIfDraining(): void {
    const { state } = this;
    if (state.context.draining && state.phase === "command" && state.transaction === null)
      state.hangUp(421, "4.3.2", "shutting down, try again");
  }

  #flush(): void {
    const { state } = this;
    const text = state.out;
    state.out = "";
    if (text !== "") state.carrier.write(text);
    if (state.phase === "closing") state.carrier.end();
    else if (state.phase === "tls") state.carrier.startTls();
  }

  /** One line from `start`; the position after it, the end of input when it is not there whole. */
  #readLine(input: Buffer, start: number): number {
    const { state } = this;
    const end = input.indexOf(10, start);
    if (end < 0) {
      if (input.length - start > bounds.authLineBytes) state.hangUp(500, "5.5.2", "line too long");
      else this.#rest = input.subarray(start);
      return input.length;
    }
    // One rule for commands and bodies: a peer that takes other line ends for one sees other commands than we do.
    if (end === start || input[end - 1] !== 13) {
      state.hangUp(500, "5.5.2", "line ends are CRLF");
      return input.length;
    }
    state.lastActive = state.context.now;
    this.#line(input, start, end - 1);
    if (this.#refusedDataHasBody(input, start, end - 1))
      state.hangUp(421, "4.7.0", "the message came before its 354");
    return end + 1;
  }

  #line(input: Buffer, start: number, end: number): void {
    const { state } = this;
    let isAscii = true;
    for (let position = start; position < end; position++) {
      const byte = input[position] ?? 0;
      if (byte === 13) return state.hangUp(500, "5.5.2", "line ends are CRLF");
      if (byte < 32 || byte === 127) return state.fault(500, "5.5.2", "control character in command");
      if (byte > 127) isAscii = false;
    }
    if (state.phase === "auth") {
      if (end - start > bounds.authLineBytes) return state.hangUp(500, "5.5.6", "line too long");
      return continueAuth(state, input.toString("latin1", start, end));
    }
    if (isAscii) return this.#command(input.toString("latin1", start, end), true);
    if (!isUtf8(input.subarray(start, end))) return state.fault(500, "5.5.2", "command is not UTF-8");
    this.#command(input.toString("utf8", start, end), false);
  }

  #command(line: string, isAscii: boolean): void {
    const { state } = this;
    const blank = line.indexOf(" ");
    const name = (blank < 0 ? line : line.slice(0, blank)).toUpperCase();
    const verb = verbs.get(name);
    if (verb === undefined) {
      // Some web page makes a browser talk to us: there is no mail in that.
      if (httpMethods.has(name)) return state.hangUp(554, "5.5.1", "this is not HTTP");
      return state.fault(500, "5.5.2", "command not recognized");
    }
    if (line.length > bounds.commandBytes && name !== "AUTH")
      return state.fault(500, "5.5.2", "line too long");
    if (!isAscii && !verb.takesUtf8) return state.fault(500, "5.5.2", "command is not ASCII");
    verb.run(state, blank < 0 ? "" : line.slice(blank + 1).trim());
  }

  /** DATA is the last of a group (RFC 2920 §3.1): what came behind a refused one is a body, never to be run as commands. */
  #refusedDataHasBody(input: Buffer, start: number, end: number): boolean {
    if (this.state.phase !== "command" || end + 2 >= input.length || end - start < 4) return false;
    return input.toString("latin1", start, start + 4).toUpperCase() === "DATA";
  }

  #readData(input: Buffer, start: number): number {
    const { state } = this;
    const { transaction } = state;
    if (transaction === null) return start;
    state.lastActive = state.context.now;
    const end = transaction.dots.read(input, start, transaction.body);
    if (end >= 0) {
      endBody(state, transaction);
      return end;
    }
    const { kept } = transaction.dots;
    if (kept > 0) this.#rest = input.subarray(input.length - kept);
    this.#mindBounds(transaction);
    return input.length;
  }

  #readChunk(input: Buffer, start: number): number {
    const { state } = this;
    const count = Math.min(input.length - start, state.chunkLeft);
    state.lastActive = state.context.now;
    state.chunkLeft -= count;
    const { transaction } = state;
    if (state.chunkRefusal === null && transaction !== null)
      transaction.body.push(input, start, start + count);
    if (state.chunkLeft === 0) endChunk(state);
    else if (transaction !== null) this.#mindBounds(transaction);
    return start + count;
  }

  /** Too much for one message: end. Too much for all of them: wait for others to be stored, else give this one up. */
  #mindBounds({ body }: Transaction): void {
    const { budget } = this.state.context;
    if (body.isHopeless(0)) return endHopeless(this.state, 0);
    if (!budget.isFull() || body.dropped !== null) return;
    if (!budget.willShrink()) return body.drop("no-room");
    budget.wait(this.#resume);
    this.#pause();
  }

  #roomAgain(): void {
    // Still full with nobody to wait for: the next bytes of the body decide who gives up.
    this.state.bodySince = this.state.context.now;
    this.#goOn();
  }
}
