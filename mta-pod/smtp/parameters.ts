/** The ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2). Pure; what is wrong comes back as the reply to give. */
import { reply, type Reply } from "./reply.ts";

export interface MailParameters {
  /** Declared SIZE=, 0 when none was. */
  readonly size: number;
  readonly smtpUtf8: boolean;
}

export type ParsedParameters<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly reply: Reply };

const none: ParsedParameters<MailParameters> = { ok: true, value: { size: 0, smtpUtf8: false } };

function refuse(code: number, text: string): { readonly ok: false; readonly reply: Reply } {
  return { ok: false, reply: reply(code, "5.5.4", text) };
}

/** xtext of RFC 3461 §4, or "<>". */
function isAuthValue(value: string): boolean {
  return value === "<>" || /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})+$/.test(value);
}

/** SIZE, BODY, SMTPUTF8 and AUTH; the rest is 555, a bad value or a repetition 501. `text` begins after the path. */
export function parseMailParameters(text: string): ParsedParameters<MailParameters> {
  if (text === "") return none;
  let size = 0;
  let smtpUtf8 = false;
  const seen = new Set<string>();
  for (const word of text.split(" ")) {
    if (word === "") continue;
    const equals = word.indexOf("=");
    const key = (equals < 0 ? word : word.slice(0, equals)).toUpperCase();
    const value = equals < 0 ? undefined : word.slice(equals + 1);
    if (seen.has(key)) return refuse(501, "parameter given twice");
    seen.add(key);
    switch (key) {
      case "SIZE":
        if (value === undefined || !/^\d{1,20}$/.test(value)) return refuse(501, "SIZE needs a number");
        size = Number(value);
        break;
      case "BODY":
        // What the body really holds is looked at when it has come; the declaration is only checked.
        if (value === undefined || !/^(?:7BIT|8BITMIME)$/i.test(value))
          return refuse(555, "BODY is 7BIT or 8BITMIME here");
        break;
      case "SMTPUTF8":
        if (value !== undefined) return refuse(501, "SMTPUTF8 takes no value");
        smtpUtf8 = true;
        break;
      case "AUTH":
        // RFC 4954 §5: syntax is checked, the claim itself is ignored: the login names the tenant.
        if (value === undefined || !isAuthValue(value)) return refuse(501, "AUTH needs xtext or <>");
        break;
      default:
        return refuse(555, "MAIL parameter not supported");
    }
  }
  return { ok: true, value: { size, smtpUtf8 } };
}

/** No extension offered adds a parameter to RCPT, so that any is refused; null = fine. */
export function checkRecipientParameters(text: string): Reply | null {
  return text.trim() === "" ? null : reply(555, "5.5.4", "RCPT parameter not supported");
}
