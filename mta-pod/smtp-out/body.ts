/** A message as DATA and BDAT want it on the wire, in slices of what was given: dot-stuffed and ended. Pure. */

const dot = Buffer.from(".");
const lineWithDot = Buffer.from("\r\n.");
const terminator = Buffer.from(".\r\n");
const lineAndTerminator = Buffer.from("\r\n.\r\n");
const lineEnd = Buffer.from("\r\n");

const cr = 13;
const lf = 10;
const dotByte = 46;

/** The last two bytes of what has passed, so that a line end cut between two pieces is still one. */
interface Tail {
  before: number;
  last: number;
}

/** For DATA (RFC 5321 §4.5.2): each line that starts with a dot gets another, the last line its CRLF, then the final dot. */
export function dataParts(pieces: readonly Buffer[]): Buffer[] {
  const parts: Buffer[] = [];
  // A message starts at the start of a line.
  const tail: Tail = { before: cr, last: lf };
  for (const piece of pieces) {
    if (piece.length === 0) continue;
    stuffPiece(piece, tail, parts);
    follow(piece, tail);
  }
  parts.push(atLineStart(tail) ? terminator : lineAndTerminator);
  return parts;
}

/** For BDAT (RFC 3030): the very bytes, and a CRLF when the last line has none. */
export function chunkParts(pieces: readonly Buffer[]): Buffer[] {
  const parts = pieces.filter((piece) => piece.length > 0);
  const tail: Tail = { before: cr, last: lf };
  for (const piece of parts) follow(piece, tail);
  if (!atLineStart(tail)) parts.push(lineEnd);
  return parts;
}

export function totalLength(parts: readonly Buffer[]): number {
  let total = 0;
  for (const part of parts) total += part.length;
  return total;
}

export interface Slices {
  readonly empty: boolean;
  next(bytes: number): Buffer[];
}

/** Hands out the parts in order, at most so many bytes at a time, without copying. */
export function slices(parts: readonly Buffer[]): Slices {
  let index = 0;
  let offset = 0;
  return {
    get empty() {
      return index >= parts.length;
    },
    next(bytes) {
      const taken: Buffer[] = [];
      let room = bytes;
      while (room > 0) {
        const part = parts[index];
        if (part === undefined) break;
        const slice = part.subarray(offset, offset + room);
        taken.push(slice);
        room -= slice.length;
        offset += slice.length;
        if (offset < part.length) break;
        index++;
        offset = 0;
      }
      return taken;
    },
  };
}

function stuffPiece(piece: Buffer, tail: Tail, parts: Buffer[]): void {
  let start = 0;
  if (piece[0] === dotByte && atLineStart(tail)) parts.push(dot);
  if (piece[0] === lf && piece[1] === dotByte && tail.last === cr) {
    parts.push(piece.subarray(0, 1), dot);
    start = 1;
  }
  for (let at = piece.indexOf(lineWithDot); at >= 0; at = piece.indexOf(lineWithDot, at + 3)) {
    parts.push(piece.subarray(start, at + 2), dot);
    start = at + 2;
  }
  parts.push(start === 0 ? piece : piece.subarray(start));
}

function atLineStart(tail: Tail): boolean {
  return tail.last === lf && tail.before === cr;
}

function follow(piece: Buffer, tail: Tail): void {
  tail.before = piece.length > 1 ? (piece[piece.length - 2] ?? 0) : tail.last;
  tail.last = piece[piece.length - 1] ?? tail.last;
}
