/** EHLO and HELO: the name a client gives itself and what we offer it. Never fails. */
import type { SessionState } from "../session-state.ts";

/** A domain, an address literal, or what clients in a cluster call themselves: one printable word. */
function isName(text: string): boolean {
  return text.length > 0 && text.length <= 255 && !text.includes(" ");
}

function accepts(state: SessionState, argument: string): boolean {
  if (!state.allowIdleCommand()) return false;
  if (isName(argument)) return true;
  state.fault(501, "5.5.4", "name yourself: EHLO hostname");
  return false;
}

export function ehlo(state: SessionState, argument: string): void {
  if (!accepts(state, argument)) return;
  state.greet(argument, true);
  const { options, hasTls } = state.context;
  const lines = [
    options.hostname,
    "PIPELINING",
    `SIZE ${options.maxMessageBytes(state.facts.login)}`,
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
  ];
  if (hasTls && state.facts.tls === "") lines.push("STARTTLS");
  if (state.mayAuth() && !state.authenticated) lines.push("AUTH PLAIN LOGIN");
  // RFC 2034 §3: no enhanced code in this reply.
  state.out += lines.map((line, index) => `250${index < lines.length - 1 ? "-" : " "}${line}\r\n`).join("");
}

export function helo(state: SessionState, argument: string): void {
  if (!accepts(state, argument)) return;
  state.greet(argument, false);
  state.out += `250 ${state.context.options.hostname}\r\n`;
}
