/** DATA and BDAT: the message itself, to the hook when it is whole and clean. Refusals are replies. */
import { hasOnlyCrlf } from "#mta-pod/smtp/crlf.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import { consumableBytes, type Content } from "../body-reader.ts";
import type { SessionState, Transaction } from "../session-state.ts";
import { askSender, outOfSequence, replyToMalformed } from "./envelope.ts";

const crlf = Buffer.from("\r\n");

export function data(state: SessionState, argument: string): void {
  const { transaction } = state;
  if (transaction === null) return outOfSequence(state, "MAIL and RCPT first");
  if (transaction.reading === "bdat") return state.fault(503, "5.5.1", "BDAT has begun this message");
  if (argument !== "") return state.fault(501, "5.5.4", "DATA takes no argument");
  if (transaction.to.length === 0) {
    // Not a fault: a pipelining client learns only now that all its recipients were refused.
    if (state.allowIdleCommand()) state.say(reply(554, "5.5.1", "no valid recipients"));
    return;
  }
  state.phase = "data";
  state.bodySince = state.context.now;
  state.out += "354 go ahead, end with <CRLF>.<CRLF>\r\n";
}

export function bdat(state: SessionState, argument: string): void {
  const syntax = /^(\d{1,12})(?: +(LAST))?$/i.exec(argument);
  // Without a size nobody knows where the next command is.
  if (syntax === null) return state.hangUp(501, "5.5.4", "syntax: BDAT size [LAST]");
  const { transaction } = state;
  state.chunkLeft = Number(syntax[1]);
  state.chunkIsLast = syntax[2] !== undefined;
  state.chunkRefusal = refuseChunk(transaction);
  if (isHopeless(state)) return endHopeless(state, state.chunkLeft);
  if (transaction !== null && state.chunkRefusal === null) transaction.reading = "bdat";
  state.phase = "chunk";
  if (transaction === null || transaction.body.bytes === 0) state.bodySince = state.context.now;
  if (state.chunkLeft === 0) endChunk(state);
}

function isHopeless({ transaction, chunkLeft, context, facts }: SessionState): boolean {
  if (transaction !== null) return transaction.body.isHopeless(chunkLeft);
  return chunkLeft > consumableBytes(context.options.maxMessageBytes(facts.login));
}

/** So much more than is permitted that reading on for the sake of a reply is not worth it; `more` bytes are announced. */
export function endHopeless(state: SessionState, more: number): void {
  const { transaction } = state;
  // The hook counts it, and what it says is for who goes on.
  if (transaction !== null) askSender(state, transaction.from, transaction.body.bytes + more);
  state.hangUp(552, "5.3.4", "message far too big");
}

/** The octets of a refused chunk are read and thrown away (RFC 3030 §2). */
function refuseChunk(transaction: Transaction | null): Reply | null {
  if (transaction === null) return reply(503, "5.5.1", "MAIL and RCPT first");
  return transaction.to.length === 0 ? reply(554, "5.5.1", "no valid recipients") : null;
}

/** All octets of the current BDAT are there. */
export function endChunk(state: SessionState): void {
  const { transaction, chunkRefusal } = state;
  state.phase = "command";
  state.lastActive = state.context.now;
  if (chunkRefusal !== null) {
    if (transaction === null) outOfSequence(state, chunkRefusal.text);
    else if (state.allowIdleCommand()) state.say(chunkRefusal);
    return;
  }
  if (transaction === null) return;
  if (state.chunkIsLast) return endBody(state, transaction);
  const refusal = refuseBytes(state, transaction);
  if (refusal === null) {
    // Chunks without octets bring no message nearer.
    if (state.allowIdleCommand()) state.say(reply(250, "2.0.0", `${transaction.body.bytes} octets so far`));
    return;
  }
  state.dropTransaction();
  state.mailRefused = true;
  state.say(refusal);
}

function refuseBytes(state: SessionState, { from, body }: Transaction): Reply | null {
  switch (body.dropped) {
    case null:
      return null;
    case "too-big":
      return askSender(state, from, body.bytes) ?? reply(552, "5.3.4", "message above the size limit");
    case "no-room":
      return reply(452, "4.3.1", "out of memory, try again later");
    default:
      return body.dropped satisfies never;
  }
}

/** What must never be passed on: line ends that others read differently (SMTP smuggling), and NUL (RFC 5321 §4.5.2). */
function refuseContent(state: SessionState, from: string, content: Buffer): Reply | null {
  if (!hasOnlyCrlf(content))
    return replyToMalformed(state, from, "message has a bare CR or LF: line ends are CRLF");
  return content.includes(0) ? replyToMalformed(state, from, "message has a NUL byte") : null;
}

/** A file that BDAT sent need not end a line; a message must, or its next hop ends it inside. */
function endingInCrlf(content: Content): Content {
  const { bytes } = content;
  if (bytes.length === 0 || bytes[bytes.length - 1] === 10) return content;
  return { bytes: Buffer.concat([bytes, crlf]), room: 0 };
}

/** The message is there whole. */
export function endBody(state: SessionState, transaction: Transaction): void {
  state.phase = "command";
  state.lastActive = state.context.now;
  const content = transaction.body.dropped === null ? transaction.body.take() : null;
  const refusal =
    content === null
      ? refuseBytes(state, transaction)
      : refuseContent(state, transaction.from, content.bytes);
  if (refusal !== null || content === null) {
    state.dropTransaction();
    state.idleCommands = 0;
    if (refusal !== null) state.say(refusal);
    return;
  }
  state.deliver(transaction, endingInCrlf(content));
}
