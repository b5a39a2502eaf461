/** Header fields of a stored message without parsing the rest of it. Pure; stops at what is no header line. */
import { isUtf8 } from "node:buffer";
import { AddressListReader } from "./address-list.ts";

export interface HeaderField {
  /** Lower case. */
  readonly name: string;
  /** Unfolded, without the white space around it. */
  readonly value: string;
  /** Bytes [start, end) of the message, final CRLF included. */
  readonly start: number;
  readonly end: number;
  /** Whether its name is this one, in lower case: most fields are only asked that, and cost no string. */
  is(name: string): boolean;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 32 || byte === 9;
}

/** The position after the CRLF that ends the line at `start`, at most `limit`; -1 when it does not end by then. */
function endOfLine(message: Buffer, start: number, limit: number): number {
  const found = message.indexOf(10, start);
  return found < 0 || found >= limit ? -1 : found + 1;
}

/** The colon of a field whose name is printable ASCII (white space before it is obsolete but read), else -1. */
function colonOf(message: Buffer, start: number, end: number): number {
  let blank = false;
  for (let position = start; position < end; position++) {
    const byte = message[position] ?? 0;
    if (byte === 0x3a) return position > start ? position : -1;
    if (isBlank(byte)) blank = true;
    else if (blank || byte < 33 || byte > 126) return -1;
  }
  return -1;
}

// oxlint-disable-next-line no-control-regex -- the ASCII range
const ascii = /^[\x00-\x7f]*$/;

/** UTF-8 where it is that, else Latin-1. */
function textOf(message: Buffer, start: number, end: number): string {
  const latin1 = message.toString("latin1", start, end);
  const isUtf8Text = !ascii.test(latin1) && isUtf8(message.subarray(start, end));
  const text = isUtf8Text ? message.toString("utf8", start, end) : latin1;
  return (text.includes("\n") ? text.replace(/\r?\n/g, "") : text).trim();
}

/** Decodes its name and its value when asked: of a dozen fields one or two are looked into. */
class Field implements HeaderField {
  readonly start: number;
  readonly end: number;
  readonly #message: Buffer;
  readonly #colon: number;
  readonly #nameEnd: number;

  constructor(message: Buffer, { start, colon, end }: { start: number; colon: number; end: number }) {
    this.start = start;
    this.end = end;
    this.#message = message;
    this.#colon = colon;
    let nameEnd = colon;
    while (isBlank(message[nameEnd - 1])) nameEnd--;
    this.#nameEnd = nameEnd;
  }

  get name(): string {
    return this.#message.toString("latin1", this.start, this.#nameEnd).toLowerCase();
  }

  get value(): string {
    return textOf(this.#message, this.#colon + 1, this.end);
  }

  is(name: string): boolean {
    if (name.length !== this.#nameEnd - this.start) return false;
    for (let index = 0; index < name.length; index++) {
      const byte = this.#message[this.start + index] ?? 0;
      const lower = byte >= 65 && byte <= 90 ? byte + 32 : byte;
      if (lower !== name.charCodeAt(index)) return false;
    }
    return true;
  }
}

/**
 * The fields of the header in order, at most those within the first `maxBytes`. A field cut off by that bound and
 * everything from the first line that is neither a field nor a continuation on is left out: to admit such a message
 * would be to guess what the receiver takes for its header, so callers check that `end` of the last is an empty line.
 */
export function headerFields(message: Buffer, maxBytes: number): HeaderField[] {
  const limit = Math.min(message.length, maxBytes);
  const fields: HeaderField[] = [];
  let start = 0;
  while (start < limit) {
    let end = endOfLine(message, start, limit);
    if (end < 0) break;
    const colon = colonOf(message, start, end);
    if (colon < 0) break;
    while (end < limit && isBlank(message[end])) {
      end = endOfLine(message, end, limit);
      if (end < 0) return fields;
    }
    fields.push(new Field(message, { start, colon, end }));
    start = end;
  }
  return fields;
}

/** The values of all fields of that name, in order. */
export function valuesOf(fields: readonly HeaderField[], name: string): string[] {
  const values: string[] = [];
  for (const field of fields) if (field.is(name)) values.push(field.value);
  return values;
}

/** The header was read whole: after its last field comes an empty line or the end of the message. */
export function isWholeHeader(message: Buffer, fields: readonly HeaderField[]): boolean {
  const end = fields.at(-1)?.end ?? 0;
  return end === message.length || (message[end] === 13 && message[end + 1] === 10);
}

/** Longer address lists are refused unread. */
const maxListLength = 64 * 1024;

/**
 * Every address in an unfolded address list, in the form `parsePath` returns, groups opened; an empty group has none. undefined when any part
 * of it cannot be read: half an answer would let through what another reader sees differently.
 * @example addressList('"Doe, Jo" <jo@a.example>, b@c.example') // ["jo@a.example", "b@c.example"]
 */
export function addressList(value: string): string[] | undefined {
  if (value.length > maxListLength) return undefined;
  const reader = new AddressListReader();
  for (let position = 0; position < value.length; ) {
    position = reader.step(value, position);
    if (position < 0) return undefined;
  }
  return reader.finish() ? reader.addresses : undefined;
}

/** As `addressList`, for a field that wants one: [] also when it cannot be read. */
export function fromAddresses(value: string): string[] {
  return addressList(value) ?? [];
}
