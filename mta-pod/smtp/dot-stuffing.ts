/** The dot transparency of DATA (RFC 5321 §4.5.2), read incrementally. Pure; only CRLF "." CRLF ends a message. */

const crlfDot = Buffer.from("\r\n.");
const cr = 13;
const lf = 10;
const dot = 46;

/** Takes the bytes [start, end) of a chunk as content; called in order. */
export interface PieceSink {
  push(chunk: Buffer, start: number, end: number): void;
}

/** One DATA body. The chunks it is given are referred to, never copied or changed. */
export class DotReader {
  /** After `read` returned -1: so many last bytes of the chunk belong in front of the next one; 0 to 4. */
  kept = 0;
  #atLineStart = true;

  /** Reads content from `start`; the position after the final dot's CRLF, or -1 when more input is needed. */
  read(chunk: Buffer, start: number, sink: PieceSink): number {
    const length = chunk.length;
    let from = start;
    this.kept = 0;
    if (this.#atLineStart && from < length) {
      if (chunk[from] === dot) {
        if (length - from < 3) return this.#keep(length - from);
        if (chunk[from + 1] === cr && chunk[from + 2] === lf) return from + 3;
        from++;
      }
      this.#atLineStart = false;
    }
    for (let found = chunk.indexOf(crlfDot, from); found >= 0; found = chunk.indexOf(crlfDot, from)) {
      if (length - found < 5) {
        sink.push(chunk, from, found);
        return this.#keep(length - found);
      }
      sink.push(chunk, from, found + 2);
      if (chunk[found + 3] === cr && chunk[found + 4] === lf) return found + 5;
      from = found + 3;
    }
    const tail = danglingBytes(chunk, from);
    sink.push(chunk, from, length - tail);
    return this.#keep(tail);
  }

  #keep(count: number): -1 {
    this.kept = count;
    return -1;
  }
}

/** Last bytes from `from` that may be the beginning of CRLF ".". */
function danglingBytes(chunk: Buffer, from: number): number {
  const length = chunk.length;
  if (length > from && chunk[length - 1] === cr) return 1;
  return length - from >= 2 && chunk[length - 1] === lf && chunk[length - 2] === cr ? 2 : 0;
}
