/** MAIL and RCPT: syntax, sequence and the hooks' verdicts. Refusals are replies; a hook that throws is 451. */
import { recipientBytes } from "#crds/wire/envelope.ts";
import { parsePath, parseRecipient } from "#mta-pod/smtp/address.ts";
import { checkRecipientParameters, parseMailParameters } from "#mta-pod/smtp/parameters.ts";
import { type Reply, reply } from "#mta-pod/smtp/reply.ts";
import { bounds } from "../options.ts";
import type { SessionState, Transaction } from "../session-state.ts";

const localError = reply(451, "4.3.0", "local error, try again later");
const nullSender = reply(550, "5.7.1", "the null sender is not accepted here");
const needsUtf8 = reply(553, "5.6.7", "address needs SMTPUTF8");

function refuseMail(state: SessionState, refusal: Reply): void {
  state.mailRefused = true;
  state.say(refusal);
}

/** Commands that a pipelining client sent behind a refused MAIL are answered, but are no mistakes of their own. */
export function outOfSequence(state: SessionState, text: string): void {
  if (!state.mailRefused) state.fault(503, "5.5.1", text);
  else if (state.allowIdleCommand()) state.say(reply(503, "5.5.1", text));
}

function ask(state: SessionState, hook: () => Reply | null): Reply | null {
  try {
    return hook();
  } catch (error) {
    state.context.log.error("hook failed", { session: state.peer.id, error: String(error) });
    return localError;
  }
}

/** What the hook says of a sender, and of a message of so many bytes from there. */
export function askSender(state: SessionState, from: string, size: number): Reply | null {
  return ask(state, () => state.context.options.hooks.mail(state.facts, from, size));
}

/** The reply to a message with something in it that must not be passed on. */
export function replyToMalformed(state: SessionState, from: string, text: string): Reply | null {
  return ask(state, () => state.context.options.hooks.malformed(state.facts, from, text));
}

/** Null when MAIL may come now. */
function mailTooEarly(state: SessionState): Reply | null {
  const { facts, context } = state;
  if (facts.login !== null) return null;
  const tlsFirst = context.hasTls && facts.tls === "" && !state.mayAuth();
  return reply(530, "5.7.0", tlsFirst ? "must issue STARTTLS first" : "authentication required");
}

export function mail(state: SessionState, argument: string): void {
  if (state.facts.helo === "") return state.fault(503, "5.5.1", "EHLO first");
  if (state.transaction !== null) return state.fault(503, "5.5.1", "sender already given");
  if (!state.allowIdleCommand()) return;
  const early = mailTooEarly(state);
  if (early !== null) return refuseMail(state, early);
  if (argument.slice(0, 5).toUpperCase() !== "FROM:")
    return state.fault(501, "5.5.4", "syntax: MAIL FROM:<address>");
  const path = parsePath(argument, 5, true);
  if (path.kind !== "path") return malformedSender(state, path.kind === "malformed" ? path.text : "");
  if (argument.charCodeAt(path.end) > 32) return malformedSender(state, "text after >");
  const parameters = parseMailParameters(argument.slice(path.end));
  if (!parameters.ok)
    return state.fault(parameters.reply.code, parameters.reply.enhanced, parameters.reply.text);
  const { size, smtpUtf8 } = parameters.value;
  if (!smtpUtf8 && Buffer.byteLength(path.address) !== path.address.length)
    return refuseMail(state, needsUtf8);
  // Only we make notifications, and they do not come in here (decisions.md 8). The hook counts what it refuses.
  if (path.address === "") return refuseMail(state, askSender(state, "", size) ?? nullSender);
  admitSender(state, path.address, { size, smtpUtf8 });
}

function malformedSender(state: SessionState, text: string): void {
  state.mailRefused = true;
  state.fault(501, "5.1.7", `malformed sender: ${text}`);
}

function admitSender(
  state: SessionState,
  from: string,
  { size, smtpUtf8 }: { readonly size: number; readonly smtpUtf8: boolean },
): void {
  const { options, budget } = state.context;
  if (budget.isNearlyFull()) return refuseMail(state, reply(452, "4.3.1", "out of memory, try again later"));
  // The hook first: it knows the tenant's limits, and counts what it refuses.
  const refusal = askSender(state, from, size);
  if (refusal !== null) return refuseMail(state, refusal);
  const maxBytes = options.maxMessageBytes(state.facts.login);
  if (size > maxBytes)
    return refuseMail(state, reply(552, "5.3.4", `message above the limit of ${maxBytes} bytes`));
  state.openTransaction(from, smtpUtf8);
  state.out += "250 2.1.0 sender ok\r\n";
}

export function rcpt(state: SessionState, argument: string): void {
  const { transaction } = state;
  if (transaction === null) return outOfSequence(state, "MAIL first");
  if (transaction.reading === "bdat") return state.fault(503, "5.5.1", "the message has begun");
  if (argument.slice(0, 3).toUpperCase() !== "TO:")
    return state.fault(501, "5.5.4", "syntax: RCPT TO:<address>");
  const path = parseRecipient(argument, 3, transaction.smtpUtf8);
  if (path.kind === "needs-smtputf8") return state.say(needsUtf8);
  if (path.kind === "malformed") return state.fault(501, "5.1.3", `malformed recipient: ${path.text}`);
  if (path.address === "") return state.fault(501, "5.1.3", "malformed recipient: no address");
  if (argument.charCodeAt(path.end) > 32)
    return state.fault(501, "5.1.3", "malformed recipient: text after >");
  const unsupported = checkRecipientParameters(argument.slice(path.end));
  if (unsupported !== null) return state.fault(unsupported.code, unsupported.enhanced, unsupported.text);
  admitRecipient(state, transaction, path.address);
}

function admitRecipient(state: SessionState, transaction: Transaction, address: string): void {
  if (++transaction.recipientAttempts > bounds.recipientAttempts)
    return state.hangUp(421, "4.7.0", "too many recipients tried");
  const { hooks } = state.context.options;
  // First: a tenant may have as many as there may be at all, and what the hook refuses is counted.
  const refusal = ask(state, () => hooks.recipient(state.facts, transaction.from, transaction.to, address));
  if (refusal !== null) return state.say(refusal);
  const bytes = transaction.recipientBytes + recipientBytes(address);
  if (transaction.to.length >= bounds.recipients || bytes > bounds.recipientBytes)
    return state.say(reply(452, "4.5.3", "too many recipients, send the rest separately"));
  transaction.to.push(address);
  transaction.recipientBytes = bytes;
  state.out += "250 2.1.5 recipient ok\r\n";
}
