/**
 * Takes NATS's protocol apart where it was read: one buffer that is read into again and again, and one frame that is
 * filled again and again, so that a message costs no object until somebody wants one. Pure but for its memory. What is
 * not a message goes on to nats-core as it is. Throws Error on bytes that are not the protocol: the connection is lost.
 */
import { MsgImpl, type Publisher } from "@nats-io/transport-node";

/** Reads of a busy connection fill half of it; the rest of a frame that was cut stays at its beginning. */
const bufferBytes = 256 * 1024;
/** No line of a server's is nearly as long. */
const maxLineBytes = 128 * 1024;

const lf = 10;
const cr = 13;
const space = 32;
const dot = 46;
const zero = 48;
const msg = 77;
const hmsg = 72;

/** One message, valid only while it is being reported: whoever keeps something of it copies it. */
export class Frame {
  #buffer: Buffer;
  /** Of the subscription. */
  sid = 0;
  #subject = 0;
  #subjectEnd = 0;
  #reply = 0;
  #replyEnd = 0;
  #start = 0;
  #data = 0;
  #end = 0;
  #hasHeaders = false;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /**
   * Reads the line of a MSG or HMSG at `position`; the length of the whole frame, its last line end too, 0 = the line is not
   * there whole. @throws Error when it is no such line
   */
  read(buffer: Buffer, position: number, filled: number): number {
    this.#buffer = buffer;
    this.#hasHeaders = buffer[position] === hmsg;
    // The words behind MSG or HMSG: subject, sid, a reply or none, the bytes of the headers if any, all bytes.
    const first = position + (this.#hasHeaders ? 5 : 4);
    let words = 0;
    let [second, third, fourth, fifth] = [0, 0, 0, 0];
    let end = first;
    for (; end < filled; end++) {
      const byte = buffer[end];
      if (byte === lf) break;
      if (byte !== space) continue;
      words++;
      if (words === 1) second = end + 1;
      else if (words === 2) third = end + 1;
      else if (words === 3) fourth = end + 1;
      else fifth = end + 1;
    }
    if (end >= filled) {
      if (filled - position > maxLineBytes) throw this.#broken(position, filled);
      return 0;
    }
    const lineEnd = end - 1;
    const numbers = this.#hasHeaders ? 2 : 1;
    const hasReply = words === numbers + 2;
    if (buffer[lineEnd] !== cr || (words !== numbers + 1 && !hasReply)) throw this.#broken(position, end);
    this.#subject = first;
    this.#subjectEnd = second - 1;
    this.sid = numberIn(buffer, second, third - 1);
    this.#reply = third;
    this.#replyEnd = hasReply ? fourth - 1 : third;
    const sizes = hasReply ? fourth : third;
    const last = this.#hasHeaders ? (hasReply ? fifth : fourth) : sizes;
    const size = numberIn(buffer, last, lineEnd);
    const headers = this.#hasHeaders ? numberIn(buffer, sizes, last - 1) : 0;
    if (!(this.sid >= 0) || !(size >= 0) || !(headers <= size)) throw this.#broken(position, end);
    this.#start = end + 1;
    this.#data = this.#start + headers;
    this.#end = this.#start + size;
    return this.#end + 2 - position;
  }

  get subject(): string {
    return this.#buffer.toString("latin1", this.#subject, this.#subjectEnd);
  }

  /** "" = there is none. */
  get reply(): string {
    return this.#buffer.toString("latin1", this.#reply, this.#replyEnd);
  }

  /** The last token of the subject as a number, NaN when it is none. */
  get subjectNumber(): number {
    let start = this.#subjectEnd;
    while (start > this.#subject && this.#buffer[start - 1] !== dot) start--;
    return numberIn(this.#buffer, start, this.#subjectEnd);
  }

  /** Bytes behind the headers. */
  get size(): number {
    return this.#end - this.#data;
  }

  get hasHeaders(): boolean {
    return this.#hasHeaders;
  }

  /** A view: for what is to stay there is `copy`. */
  get data(): Buffer {
    return this.#buffer.subarray(this.#data, this.#end);
  }

  /** The same in memory of its own. */
  copy(): Buffer {
    const copy = Buffer.allocUnsafe(this.size);
    this.#buffer.copy(copy, 0, this.#data, this.#end);
    return copy;
  }

  /** The value of the first header of that name, "" = there is none. The name as it was written. */
  header(name: string): string {
    if (!this.#hasHeaders) return "";
    const text = this.#buffer.toString("utf8", this.#start, this.#data);
    const at = text.indexOf(`\r\n${name}:`);
    if (at < 0) return "";
    const start = at + name.length + 3;
    return text.slice(start, text.indexOf("\r\n", start)).trim();
  }

  /** The same as nats-core's own, in memory of its own. */
  toMsg(publisher: Publisher): MsgImpl {
    const { msg: arg, data } = this.parts();
    return new MsgImpl(arg, data, publisher);
  }

  /** What nats-core's parser makes of it, in memory of its own. */
  parts(): { readonly msg: ConstructorParameters<typeof MsgImpl>[0]; readonly data: Uint8Array } {
    const from = this.#subject;
    const copy = Buffer.from(this.#buffer.subarray(from, this.#end));
    const hasReply = this.#replyEnd > this.#reply;
    return {
      msg: {
        subject: copy.subarray(0, this.#subjectEnd - from),
        ...(hasReply ? { reply: copy.subarray(this.#reply - from, this.#replyEnd - from) } : {}),
        sid: this.sid,
        hdr: this.#hasHeaders ? this.#data - this.#start : -1,
        size: this.#end - this.#start,
      },
      data: copy.subarray(this.#start - from),
    };
  }

  #broken(position: number, end: number): Error {
    const line = this.#buffer.toString("latin1", position, Math.min(end, position + 100));
    return new Error(`Cannot read from NATS: expected a message, got ${JSON.stringify(line)}`);
  }
}

/** NaN when there are other bytes than digits, or none. */
function numberIn(buffer: Buffer, start: number, end: number): number {
  if (start >= end || end - start > 15) return Number.NaN;
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (buffer[at] ?? 0) - zero;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

export interface FrameEvents {
  message(frame: Frame): void;
  /** One line of another kind (INFO, PING, PONG, +OK, -ERR), in memory of its own. */
  line(bytes: Buffer): void;
}

export class FrameReader {
  #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #filled = 0;
  readonly #frame = new Frame(this.#buffer);
  readonly #events: FrameEvents;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** Where the next bytes are to be put; never empty. */
  room(): Buffer {
    return this.#buffer.subarray(this.#filled);
  }

  /** So many bytes were put into `room()`. @throws Error when they are not the protocol */
  filled(bytes: number): void {
    this.#filled += bytes;
    let position = 0;
    /** Of the frame that is not there whole. */
    let wanted = 0;
    while (position < this.#filled) {
      const first = this.#buffer[position];
      const isMessage = first === msg || first === hmsg;
      const length = isMessage
        ? this.#frame.read(this.#buffer, position, this.#filled)
        : this.#lineLength(position);
      if (length === 0 || position + length > this.#filled) {
        wanted = length;
        break;
      }
      if (isMessage) this.#events.message(this.#frame);
      else this.#events.line(Buffer.from(this.#buffer.subarray(position, position + length)));
      position += length;
    }
    this.#keep(position, wanted);
  }

  /** For bytes that were read elsewhere. */
  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const copied = bytes.copy(this.room(), 0, at);
      at += copied;
      this.filled(copied);
    }
  }

  #lineLength(position: number): number {
    const end = this.#buffer.indexOf(lf, position);
    if (end >= 0 && end < this.#filled) return end + 1 - position;
    if (this.#filled - position > maxLineBytes)
      throw new Error("Cannot read from NATS: expected a line, got none");
    return 0;
  }

  /** The bytes from `position` on go to the front, of a buffer that can take the frame of `wanted` bytes they begin. */
  #keep(position: number, wanted: number): void {
    const left = this.#filled - position;
    const bytes = Math.max(bufferBytes, wanted);
    if (bytes === this.#buffer.length) {
      if (position > 0 && left > 0) this.#buffer.copyWithin(0, position, this.#filled);
    } else {
      const buffer = Buffer.allocUnsafeSlow(bytes);
      this.#buffer.copy(buffer, 0, position, this.#filled);
      this.#buffer = buffer;
    }
    this.#filled = left;
  }
}
