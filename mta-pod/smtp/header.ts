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
}

const space = 32;
const tab = 9;

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
    if (byte === space || byte === tab) blank = true;
    else if (blank || byte < 33 || byte > 126) return -1;
  }
  return -1;
}

function textOf(message: Buffer, start: number, end: number): string {
  const bytes = message.subarray(start, end);
  const text = isUtf8(bytes) ? bytes.toString() : bytes.toString("latin1");
  return (text.includes("\n") ? text.replace(/\r?\n/g, "") : text).trim();
}

/** Decodes its value when asked: of a dozen fields one or two are looked into. */
class Field implements HeaderField {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly #message: Buffer;
  readonly #valueStart: number;

  constructor(message: Buffer, at: { name: string; valueStart: number; start: number; end: number }) {
    this.#message = message;
    this.#valueStart = at.valueStart;
    this.name = at.name;
    this.start = at.start;
    this.end = at.end;
  }

  get value(): string {
    return textOf(this.#message, this.#valueStart, this.end);
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
    while (end < limit && (message[end] === space || message[end] === tab)) {
      end = endOfLine(message, end, limit);
      if (end < 0) return fields;
    }
    const name = message.toString("latin1", start, colon).trimEnd().toLowerCase();
    fields.push(new Field(message, { name, valueStart: colon + 1, start, end }));
    start = end;
  }
  return fields;
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
