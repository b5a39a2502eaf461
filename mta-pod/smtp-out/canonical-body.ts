/** The body hash of DKIM, canonicalisation "relaxed" (RFC 6376 §3.4.4), of bodies of any length in little memory. */
import { createHash, type Hash, hash } from "node:crypto";
import { squeezeInto, type Squeezed, windowBytes } from "./squeeze.ts";

/** A body above this is hashed in turns with the event loop: the rest of the pod waits for none of it longer than 1–2 ms. */
const turnBytes = 1_048_576;

/** SHA-256 of the relaxed body in base64: what `bh=` holds. Expects CRLF line ends. */
export async function relaxedBodyHash(body: Buffer): Promise<string> {
  if (body.length <= turnBytes) return relaxedBodyHashNow(body);
  const sink = new BodySink();
  let turnEnd = turnBytes;
  for (let start = 0; start < body.length; ) {
    start = sink.window(body, start);
    if (start < turnEnd) continue;
    turnEnd = start + turnBytes;
    await new Promise<void>((resume) => setImmediate(resume));
  }
  return sink.digest();
}

/** The same without a pause. */
export function relaxedBodyHashNow(body: Buffer): string {
  if (body.length <= windowBytes) {
    const squeezed = squeezeInto(body);
    const end = squeezed.length - lineEndsAtEnd(squeezed) * 2;
    if (end === 0) return hash("sha256", "", "base64");
    const whole = end + 2 <= squeezed.length ? squeezed.subarray(0, end + 2) : withLineEnd(squeezed);
    return hash("sha256", whole, "base64");
  }
  const sink = new BodySink();
  for (let start = 0; start < body.length; ) start = sink.window(body, start);
  return sink.digest();
}

function withLineEnd(squeezed: Squeezed): Buffer {
  return Buffer.concat([squeezed, lineEnd]);
}

const lineEnd = Buffer.from("\r\n");
const lineEnds = Buffer.from("\r\n".repeat(4096));

/** Takes windows in order and keeps back the line ends that may prove to be the last ones. */
class BodySink {
  readonly #hash: Hash = createHash("sha256");
  #heldBack = 0;
  #empty = true;

  /** @returns where the next window starts */
  window(body: Buffer, start: number): number {
    const end = windowEnd(body, start);
    const squeezed = squeezeInto(body.subarray(start, end));
    const last = lineEndsAtEnd(squeezed);
    const length = squeezed.length - last * 2;
    if (length > 0) {
      this.#release();
      this.#hash.update(squeezed.subarray(0, length));
      this.#empty = false;
    }
    this.#heldBack += last;
    return end;
  }

  digest(): string {
    if (!this.#empty) this.#hash.update(lineEnd);
    return this.#hash.digest("base64");
  }

  #release(): void {
    for (; this.#heldBack > 0; this.#heldBack -= 4096) {
      this.#hash.update(lineEnds.subarray(0, Math.min(this.#heldBack, 4096) * 2));
    }
    this.#heldBack = 0;
  }
}

function lineEndsAtEnd(bytes: Squeezed): number {
  let count = 0;
  for (let end = bytes.length; end >= 2 && bytes[end - 1] === 10 && bytes[end - 2] === 13; end -= 2) count++;
  return count;
}

/**
 * Windows are squeezed one by one, so a cut must be where squeezing does not look across: behind a line end, else
 * between two bytes that are neither white space nor line ends. 256 KB of nothing but white space goes as one piece.
 */
function windowEnd(body: Buffer, start: number): number {
  if (body.length - start <= windowBytes) return body.length;
  const limit = start + windowBytes;
  const line = body.subarray(start, limit).lastIndexOf(lineEnd);
  if (line >= 0) return start + line + 2;
  for (let cut = limit; cut > start; cut--) if (isInk(body[cut - 1]) && isInk(body[cut])) return cut;
  for (let cut = limit; cut < body.length; cut++) if (isInk(body[cut - 1]) && isInk(body[cut])) return cut;
  return body.length;
}

function isInk(byte: number | undefined): boolean {
  return byte !== 32 && byte !== 9 && byte !== 13 && byte !== 10;
}
