/** Which words are commands. Pure. */
import type { SessionState } from "./session-state.ts";
import { auth } from "./verbs/auth.ts";
import { mail, rcpt } from "./verbs/envelope.ts";
import { ehlo, helo } from "./verbs/greeting.ts";
import { bdat, data } from "./verbs/message.ts";
import { help, noop, notImplemented, quit, rset, startTls, vrfy } from "./verbs/others.ts";

export interface Verb {
  /** `argument` is what follows the verb, without the white space around it. */
  run(state: SessionState, argument: string): void;
  /** The line may hold UTF-8 (RFC 6531); whether the transaction allows it is the verb's business. */
  readonly takesUtf8: boolean;
}

function ascii(run: Verb["run"]): Verb {
  return { run, takesUtf8: false };
}

export const verbs: ReadonlyMap<string, Verb> = new Map<string, Verb>([
  ["EHLO", ascii(ehlo)],
  ["HELO", ascii(helo)],
  ["MAIL", { run: mail, takesUtf8: true }],
  ["RCPT", { run: rcpt, takesUtf8: true }],
  ["DATA", ascii(data)],
  ["BDAT", ascii(bdat)],
  ["RSET", ascii(rset)],
  ["NOOP", ascii(noop)],
  ["VRFY", { run: vrfy, takesUtf8: true }],
  ["HELP", ascii(help)],
  ["QUIT", ascii(quit)],
  ["AUTH", ascii(auth)],
  ["STARTTLS", ascii(startTls)],
  ["EXPN", ascii(notImplemented)],
  ["ETRN", ascii(notImplemented)],
  ["TURN", ascii(notImplemented)],
]);

export const httpMethods: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "CONNECT",
  "OPTIONS",
  "TRACE",
  "PATCH",
]);
