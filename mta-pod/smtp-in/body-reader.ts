/** Collects the bytes of one message (DATA or BDAT) within its bounds. Beyond them it counts and keeps nothing. */
import type { PieceSink } from "#mta-pod/smtp/dot-stuffing.ts";
import type { BufferBudget } from "./buffer-budget.ts";

/** Pieces below this are gathered once there are several: a peer that sends single bytes must not cost a Buffer each. */
const smallPieceBytes = 1024;
const loosePieces = 16;
const slabBytes = 32 * 1024;
/** In front of a body that was put together, for the trace fields: adding them then costs no second copy. */
const roomBytes = 1024;

export interface Content {
  readonly bytes: Buffer;
  /** So much of the same memory in front of `bytes` is nobody's. */
  readonly room: number;
}

/** Of a message above the limit so much is still read, so that the client gets its 552; then the connection ends. */
export function consumableBytes(maxBytes: number): number {
  return maxBytes * 2 + 1024 * 1024;
}

export class BodyReader implements PieceSink {
  /** All bytes of content so far, kept or not. */
  bytes = 0;
  /** Why nothing is kept any more. */
  dropped: "too-big" | "no-room" | null = null;
  readonly #maxBytes: number;
  readonly #budget: BufferBudget;
  #parts: Buffer[] = [];
  #smallParts = 0;
  #slab: Buffer | null = null;
  /** The slab's bytes [start, used) are not in `#parts` yet. */
  #slabStart = 0;
  #slabUsed = 0;

  constructor(maxBytes: number, budget: BufferBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Whether what came, with `more` bytes announced, is beyond what is read just to be thrown away. */
  isHopeless(more: number): boolean {
    return this.bytes + more > consumableBytes(this.#maxBytes);
  }

  push(chunk: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length <= 0) return;
    if (this.bytes + length > this.#maxBytes) this.drop("too-big");
    this.bytes += length;
    if (this.dropped !== null) return;
    this.#budget.hold(length);
    if (length < smallPieceBytes && this.#smallParts++ >= loosePieces) this.#gather(chunk, start, end);
    else {
      this.#sealSlab();
      this.#parts.push(chunk.subarray(start, end));
    }
  }

  /** Forgets what was kept and keeps nothing more; the count goes on. */
  drop(reason: "too-big" | "no-room"): void {
    if (this.dropped !== null) return;
    this.dropped = reason;
    this.#forget();
    this.#budget.release(this.bytes);
  }

  /** The whole content; the bytes stay on the budget until the caller releases them. */
  take(): Content {
    this.#sealSlab();
    const parts = this.#parts;
    this.#forget();
    const [first] = parts;
    if (first !== undefined && parts.length === 1) return { bytes: unshared(first), room: 0 };
    const memory = Buffer.allocUnsafe(roomBytes + this.bytes);
    let at = roomBytes;
    for (const part of parts) at += part.copy(memory, at);
    return { bytes: memory.subarray(roomBytes), room: roomBytes };
  }

  #forget(): void {
    this.#parts = [];
    this.#slab = null;
    this.#slabStart = 0;
    this.#slabUsed = 0;
  }

  #gather(chunk: Buffer, start: number, end: number): void {
    if (this.#slab === null || this.#slabUsed + end - start > slabBytes) {
      this.#sealSlab();
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#slabStart = 0;
      this.#slabUsed = 0;
    }
    this.#slabUsed += chunk.copy(this.#slab, this.#slabUsed, start, end);
  }

  #sealSlab(): void {
    if (this.#slab === null || this.#slabUsed === this.#slabStart) return;
    this.#parts.push(this.#slab.subarray(this.#slabStart, this.#slabUsed));
    this.#slabStart = this.#slabUsed;
  }
}

/** A short body alone must not keep the whole read it came with alive until it is stored. */
function unshared(part: Buffer): Buffer {
  return part.buffer.byteLength > part.length * 8 ? Buffer.from(part) : part;
}
