/** Replies of a peer out of bytes, however they are cut. Bounded; anything that is no reply stops it with a text. Pure. */
import type { Reply } from "../smtp/reply.ts";

const maxLineLength = 4096;
const maxLines = 100;
const maxReplyLength = 65_536;
const maxKeptText = 1024;

/** `code` is 200–599; `text` has no codes, lines are joined by LF, nothing is cleaned yet (see `cleanReply`). */
export type OnReply = (code: number, text: string) => void;

export class ReplyParser {
  readonly #onReply: OnReply;
  /** The start of a line whose end has not come. */
  #rest = "";
  /** The lines so far of a reply whose last line has not come. */
  #text = "";
  #lines = 0;
  #epoch = 0;

  constructor(onReply: OnReply) {
    this.#onReply = onReply;
  }

  /** Forgets what was begun. Called inside `onReply` it also drops the rest of the chunk (STARTTLS, RFC 3207 §6). */
  reset(): void {
    this.#rest = "";
    this.#text = "";
    this.#lines = 0;
    this.#epoch++;
  }

  /** The beginning of a reply is there, its end is not. */
  get begun(): boolean {
    return this.#rest !== "" || this.#lines > 0;
  }

  /**
   * Calls `onReply` for each reply that is complete.
   * @returns what is wrong with the peer's bytes; undefined when nothing is. After a problem: `reset` or no further push.
   */
  push(chunk: Buffer): string | undefined {
    const epoch = this.#epoch;
    let input = chunk.toString("latin1");
    if (this.#rest !== "") {
      input = this.#rest + input;
      this.#rest = "";
    }
    let start = 0;
    for (;;) {
      const feed = input.indexOf("\n", start);
      if (feed < 0) break;
      const end = feed > start && input.charCodeAt(feed - 1) === 13 ? feed - 1 : feed;
      const problem = this.#line(input, start, end);
      if (problem !== undefined) return problem;
      if (epoch !== this.#epoch) return undefined;
      start = feed + 1;
    }
    if (input.length - start > maxLineLength) return tooLong;
    this.#rest = start === 0 ? input : input.slice(start);
    return undefined;
  }

  #line(input: string, start: number, end: number): string | undefined {
    if (end - start > maxLineLength) return tooLong;
    const code = codeAt(input, start, end);
    const mark = end - start > 3 ? input.charCodeAt(start + 3) : 32;
    if (code === 0 || (mark !== 32 && mark !== 45)) {
      return `not a reply: "${cleanText(input.slice(start, Math.min(end, start + 80)))}"`;
    }
    const text = input.slice(Math.min(start + 4, end), end);
    if (mark === 32 && this.#lines === 0) {
      this.#onReply(code, text);
      return undefined;
    }
    const whole = this.#lines === 0 ? text : `${this.#text}\n${text}`;
    if (mark === 32) {
      this.#text = "";
      this.#lines = 0;
      this.#onReply(code, whole);
      return undefined;
    }
    this.#text = whole;
    this.#lines++;
    if (this.#lines >= maxLines) return `a reply of more than ${maxLines} lines`;
    if (whole.length > maxReplyLength) return `a reply of more than ${maxReplyLength} bytes`;
    return undefined;
  }
}

const tooLong = `a reply line of more than ${maxLineLength} bytes`;

/** 0 when there is no code from 200 to 599. */
function codeAt(input: string, start: number, end: number): number {
  if (end - start < 3) return 0;
  const hundreds = input.charCodeAt(start) - 48;
  const tens = input.charCodeAt(start + 1) - 48;
  const ones = input.charCodeAt(start + 2) - 48;
  if (hundreds < 2 || hundreds > 5 || tens < 0 || tens > 9 || ones < 0 || ones > 9) return 0;
  return hundreds * 100 + tens * 10 + ones;
}

const enhancedPattern = /^([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|$)/;

/**
 * A reply fit for logs, DSNs and events: the enhanced code taken out of the text (of every line that repeats it, and
 * only when its class agrees with the code, which alone decides), control characters gone, at most 1,024 characters.
 * @example cleanReply(550, "5.1.1 no such user") // { code: 550, enhanced: "5.1.1", text: "no such user" }
 */
export function cleanReply(code: number, raw: string): Reply {
  const found = enhancedPattern.exec(raw.includes("\n") ? raw.slice(0, raw.indexOf("\n")) : raw)?.[1] ?? "";
  const enhanced = found.charCodeAt(0) - 48 === Math.floor(code / 100) ? found : "";
  if (!raw.includes("\n")) return { code, enhanced, text: cleanText(withoutEnhanced(raw, enhanced)) };
  const lines = raw.split("\n").map((line) => cleanText(withoutEnhanced(line, enhanced)));
  return { code, enhanced, text: cut(lines.join("\n")) };
}

function withoutEnhanced(line: string, enhanced: string): string {
  return enhanced !== "" && line.startsWith(enhanced) ? line.slice(enhanced.length).trimStart() : line;
}

// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const plain = /^[\x20-\x7e]*$/;
// oxlint-disable-next-line no-control-regex -- C0, DEL, C1, and the marks that reorder or split lines of a log
const unsafe = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g;

/** Latin-1 characters as the peer's bytes came → text without control characters; UTF-8 is decoded (RFC 6531 §3.7.4.1). */
function cleanText(bytes: string): string {
  if (plain.test(bytes)) return cut(bytes.trimEnd());
  return cut(Buffer.from(bytes, "latin1").toString("utf8").replace(unsafe, " ").trimEnd());
}

function cut(text: string): string {
  return text.length <= maxKeptText ? text : text.slice(0, maxKeptText);
}
