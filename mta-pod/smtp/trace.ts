/** The header fields that intake puts in front of a message: trace (RFC 5321 4.4) and what RFC 6409 8 lets a submission server add. Pure. */
import type { HeaderField } from "./header.ts";
import type { Inbound } from "./inbound.ts";
import { mailDate } from "./mail-date.ts";

export interface TraceFacts {
  readonly helo: string;
  readonly remoteAddress: string;
  readonly hostname: string;
  /** "ESMTPSA" and the like (RFC 3848). */
  readonly protocol: string;
  readonly id: string;
  /** ms since 1970. */
  readonly time: number;
}

/** Keeps what a client said of itself from breaking out of a header line. */
function token(text: string): string {
  return text.replace(/[^\x21-\x7e]|[()<>\\;,]/g, "?").slice(0, 255);
}

/** The client's address stands in it as RFC 5321 asks; `for` is left out, since it would tell recipients of each other. */
export function receivedField(facts: TraceFacts): string {
  const address = facts.remoteAddress.includes(":") ? `IPv6:${facts.remoteAddress}` : facts.remoteAddress;
  return (
    `Received: from ${token(facts.helo)} ([${token(address)}])\r\n` +
    `\tby ${facts.hostname} with ${facts.protocol} id ${facts.id};\r\n\t${mailDate(facts.time)}\r\n`
  );
}

export function messageIdField(id: string, hostname: string): string {
  return `Message-ID: <${id}@${hostname}>\r\n`;
}

export function dateField(time: number): string {
  return `Date: ${mailDate(time)}\r\n`;
}

function isOneOf(field: HeaderField, names: readonly string[]): boolean {
  for (const name of names) if (field.is(name)) return true;
  return false;
}

interface Rewriting {
  /** Whole lines of ASCII, for the top. */
  readonly added: string;
  readonly fields: readonly HeaderField[];
  /** Names in lower case. */
  readonly dropped: readonly string[];
}

/**
 * The message with lines on top and without some fields: in its own memory when there is room in front and nothing is dropped. One that is nothing
 * but header gets the empty line that ends it (RFC 5322 2.1): what is signed must be what is sent.
 */
export function rewritten(
  { body, room = 0 }: Pick<Inbound, "body" | "room">,
  { added, fields, dropped }: Rewriting,
): Buffer {
  const isDropped = (field: HeaderField): boolean => isOneOf(field, dropped);
  const isHeaderOnly = (fields.at(-1)?.end ?? 0) === body.length;
  if (added.length <= room && !isHeaderOnly && !fields.some(isDropped)) {
    const whole = Buffer.from(body.buffer, body.byteOffset - added.length, added.length + body.length);
    whole.write(added, 0, "latin1");
    return whole;
  }
  const pieces: Buffer[] = [Buffer.from(added, "latin1")];
  let kept = 0;
  for (const field of fields.filter(isDropped)) {
    pieces.push(body.subarray(kept, field.start));
    kept = field.end;
  }
  pieces.push(body.subarray(kept));
  if (isHeaderOnly) pieces.push(Buffer.from("\r\n"));
  return Buffer.concat(pieces);
}
