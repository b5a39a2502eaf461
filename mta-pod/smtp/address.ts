/** Mailbox and path syntax of RFC 5321 §4.1.2 with RFC 6531's UTF-8; pure. A malformed path is a value, not a throw. */
import ipaddr from "ipaddr.js";
import { normalizeDomain } from "#crds/values/domain.ts";

/** RFC 5321 §4.5.3.1, in octets. */
const maxLocalPart = 64;
const maxDomain = 255;
const maxPath = 256;

export type ParsedPath =
  /** `address` is "" for `<>`; `end` is the position after `>`. */
  | { readonly kind: "path"; readonly address: string; readonly end: number }
  | { readonly kind: "malformed"; readonly text: string }
  /** UTF-8 where SMTPUTF8 was not asked for. */
  | { readonly kind: "needs-smtputf8" };

type Part = { readonly end: number; readonly text: string } | string;

function malformed(text: string): ParsedPath {
  return { kind: "malformed", text };
}

/** RFC 5322 atext: the printable ASCII that may stand unquoted. */
function isAtext(code: number): boolean {
  if ((code >= 97 && code <= 122) || (code >= 48 && code <= 57) || (code >= 65 && code <= 90)) return true;
  switch (code) {
    case 0x21: // !
    case 0x23: // #
    case 0x24: // $
    case 0x25: // %
    case 0x26: // &
    case 0x27: // '
    case 0x2a: // *
    case 0x2b: // +
    case 0x2d: // -
    case 0x2f: // /
    case 0x3d: // =
    case 0x3f: // ?
    case 0x5e: // ^
    case 0x5f: // _
    case 0x60: // `
    case 0x7b: // {
    case 0x7c: // |
    case 0x7d: // }
    case 0x7e: // ~
      return true;
    default:
      // C1 controls are no characters of an address; what UTF-8 means beyond that is the receiver's business.
      return code > 0x9f;
  }
}

/** letters, digits, hyphen and (seen in real host names) underscore; U-labels above ASCII. */
function isLabelCharacter(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 48 && code <= 57) ||
    code === 0x2d ||
    (code >= 65 && code <= 90) ||
    code === 0x5f ||
    code > 0x9f
  );
}

function dotString(text: string, start: number): Part {
  let position = start;
  let atomStart = start;
  for (; position < text.length; position++) {
    const code = text.charCodeAt(position);
    if (code === 0x2e) {
      if (position === atomStart) return "empty part between dots";
      atomStart = position + 1;
    } else if (!isAtext(code)) break;
  }
  if (position === atomStart) return position === start ? "no local part" : "local part ends in a dot";
  return { end: position, text: text.slice(start, position) };
}

/** Reads `"…"`; gives it back unquoted where a dot-string says the same, else with the least quoting. */
function quotedString(text: string, start: number): Part {
  let content = "";
  let position = start + 1;
  for (; position < text.length; position++) {
    let code = text.charCodeAt(position);
    if (code === 0x22) {
      const plain = dotString(content, 0);
      const bare = typeof plain !== "string" && plain.end === content.length;
      return { end: position + 1, text: bare ? content : `"${content.replace(/["\\]/g, "\\$&")}"` };
    }
    if (code === 0x5c) code = text.charCodeAt(++position);
    if (!(code >= 32) || (code >= 127 && code <= 0x9f)) return "control character in quotes";
    content += text[position] ?? "";
  }
  return "quote without end";
}

function addressLiteral(text: string, start: number): Part {
  const close = text.indexOf("]", start);
  if (close < 0 || close - start > 50) return "address literal without end";
  const inner = text.slice(start + 1, close);
  const isV6 = /^ipv6:/i.test(inner);
  const fine = isV6
    ? ipaddr.IPv6.isValid(inner.slice(5)) && !inner.includes("%")
    : ipaddr.IPv4.isValidFourPartDecimal(inner);
  return fine ? { end: close + 1, text: text.slice(start, close + 1) } : "bad address literal";
}

function domainName(text: string, start: number): Part {
  let position = start;
  let labelStart = start;
  for (; position <= text.length; position++) {
    const code = position < text.length ? text.charCodeAt(position) : 0;
    if (isLabelCharacter(code)) continue;
    const length = position - labelStart;
    if (length === 0 || length > 63) return length === 0 ? "empty label in domain" : "label above 63 octets";
    if (text.charCodeAt(labelStart) === 0x2d || text.charCodeAt(position - 1) === 0x2d)
      return "label starts or ends with a hyphen";
    if (code !== 0x2e) break;
    labelStart = position + 1;
  }
  return { end: position, text: text.slice(start, position) };
}

/** Skips `@a,@b:` (RFC 5321 appendix C: accepted and ignored); the position of the mailbox, or what is wrong. */
function skipSourceRoute(text: string, start: number): number | string {
  let position = start;
  for (;;) {
    const hop = domainName(text, position + 1);
    if (typeof hop === "string") return hop;
    const next = text[hop.end];
    if (next === ":") return hop.end + 1;
    if (next !== "," || text[hop.end + 1] !== "@") return "bad source route";
    position = hop.end + 1;
  }
}

function isAsciiText(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 127) return false;
  return true;
}

/** Octets on the wire. */
function octets(text: string): number {
  return isAsciiText(text) ? text.length : Buffer.byteLength(text);
}

function mailbox(text: string, start: number): Part {
  const local = text.charCodeAt(start) === 0x22 ? quotedString(text, start) : dotString(text, start);
  if (typeof local === "string") return local;
  if (text[local.end] !== "@") return "no @ after the local part";
  if (octets(local.text) > maxLocalPart) return "local part above 64 octets";
  const isLiteral = text[local.end + 1] === "[";
  const domain = isLiteral ? addressLiteral(text, local.end + 1) : domainName(text, local.end + 1);
  if (typeof domain === "string") return domain;
  if (octets(domain.text) > maxDomain) return "domain above 255 octets";
  return { end: domain.end, text: `${local.text}@${domain.text}` };
}

/**
 * Reads `<…>` at `start` (spaces before it are skipped: many clients send `FROM: <`). The address comes back without
 * brackets and source route, quotes only where needed; its domain's case is kept.
 * @example parsePath("FROM:<a@b.example> SIZE=1", 5, false) // { kind: "path", address: "a@b.example", end: 18 }
 */
export function parsePath(text: string, start: number, smtpUtf8: boolean): ParsedPath {
  let position = start;
  while (text.charCodeAt(position) === 32) position++;
  if (text[position] !== "<") return malformed("address needs angle brackets");
  position++;
  if (text[position] === ">") return { kind: "path", address: "", end: position + 1 };
  if (text[position] === "@") {
    const after = skipSourceRoute(text, position);
    if (typeof after === "string") return malformed(after);
    position = after;
  }
  const parsed = mailbox(text, position);
  if (typeof parsed === "string") return malformed(parsed);
  if (text[parsed.end] !== ">") return malformed("unexpected character in address");
  if (octets(parsed.text) + 2 > maxPath) return malformed("path above 256 octets");
  if (!smtpUtf8 && !isAsciiText(parsed.text)) return { kind: "needs-smtputf8" };
  return { kind: "path", address: parsed.text, end: parsed.end + 1 };
}

/**
 * Reads a recipient: as `parsePath`, and `<postmaster>` in any case, the one address that needs no domain (RFC 5321 4.1.1.3). What that is good
 * for others say.
 */
export function parseRecipient(text: string, start: number, smtpUtf8: boolean): ParsedPath {
  const [whole = "", address = ""] = /^ *<(postmaster)>/i.exec(text.slice(start, start + maxPath)) ?? [];
  return whole === ""
    ? parsePath(text, start, smtpUtf8)
    : { kind: "path", address, end: start + whole.length };
}

/** `text` as one bare mailbox in the form `parsePath` returns; undefined when it is none. UTF-8 is allowed. */
export function parseMailbox(text: string): string | undefined {
  const parsed = mailbox(text, 0);
  if (typeof parsed === "string" || parsed.end !== text.length) return undefined;
  return octets(parsed.text) + 2 > maxPath ? undefined : parsed.text;
}

/**
 * The domain as it is compared everywhere: A-label, lower case. What is no domain name (an address literal, digits
 * only) comes back as it stands in lower case, which no domain name equals; "" without an @.
 */
export function domainOf(address: string): string {
  const at = address.lastIndexOf("@");
  if (at < 0) return "";
  const text = address.slice(at + 1);
  return normalizeDomain(text) ?? text.toLowerCase();
}
