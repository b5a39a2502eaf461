/** RSET, NOOP, VRFY, HELP, QUIT, STARTTLS and what we know but do not do. Never fails. */
import { reply } from "#mta-pod/smtp/reply.ts";
import type { SessionState } from "../session-state.ts";

export function rset(state: SessionState, argument: string): void {
  if (argument !== "") return state.fault(501, "5.5.4", "RSET takes no argument");
  if (!state.allowIdleCommand()) return;
  state.dropTransaction();
  state.out += "250 2.0.0 ok\r\n";
}

export function noop(state: SessionState): void {
  if (state.allowIdleCommand()) state.out += "250 2.0.0 ok\r\n";
}

/** RFC 5321 §3.5.3: an address is never confirmed, so that nobody can list them. */
export function vrfy(state: SessionState, argument: string): void {
  if (!state.allowIdleCommand()) return;
  if (argument === "") return state.fault(501, "5.5.4", "syntax: VRFY address");
  state.say(reply(252, "2.1.5", "cannot verify; send mail to find out"));
}

export function help(state: SessionState): void {
  if (state.allowIdleCommand())
    state.say(
      reply(214, "2.0.0", "EHLO AUTH STARTTLS MAIL RCPT DATA BDAT RSET NOOP QUIT: RFC 5321, RFC 6409"),
    );
}

export function quit(state: SessionState): void {
  state.dropTransaction();
  state.hangUp(221, "2.0.0", "bye");
}

export function startTls(state: SessionState, argument: string): void {
  if (argument !== "") return state.fault(501, "5.5.4", "STARTTLS takes no argument");
  if (state.facts.tls !== "") return state.fault(503, "5.5.1", "TLS is on already");
  if (!state.context.hasTls) return state.fault(502, "5.5.1", "TLS is not available");
  if (!state.isExtended) return state.fault(503, "5.5.1", "EHLO first");
  if (state.transaction !== null) return state.fault(503, "5.5.1", "not inside a transaction");
  state.out += "220 2.0.0 ready for TLS\r\n";
  state.phase = "tls";
  state.lastActive = state.context.now;
}

export function notImplemented(state: SessionState): void {
  state.fault(502, "5.5.1", "command not implemented");
}
