/**
 * What sessions share: how many message bytes they hold together, who waits for room, and whether any of them could hand
 * over a message now. Pure bookkeeping; never throws.
 */

export class BufferBudget {
  readonly #maxBytes: number;
  #held = 0;
  #unanswered = 0;
  #sessions = 0;
  readonly #waiting = new Set<() => void>();

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  heldBytes(): number {
    return this.#held;
  }

  /** Time to refuse new messages: the last fifth is for those under way. */
  isNearlyFull(): boolean {
    return this.#held > this.#maxBytes * 0.8;
  }

  isFull(): boolean {
    return this.#held > this.#maxBytes;
  }

  /**
   * Waiting can help: some message is with the hook, whose answer will make room. Without one, all bytes belong to
   * bodies still being read, and pausing those for each other would be a deadlock: somebody has to give up.
   */
  willShrink(): boolean {
    return this.#unanswered > 0;
  }

  sessionOpened(): void {
    this.#sessions++;
  }

  sessionClosed(): void {
    this.#sessions--;
  }

  /** Each session waits for the answer to its message: until one comes, none can hand over another. */
  isEveryoneWaiting(): boolean {
    return this.#unanswered >= this.#sessions;
  }

  hold(bytes: number): void {
    this.#held += bytes;
  }

  release(bytes: number): void {
    this.#held -= bytes;
    this.#wake();
  }

  handOver(): void {
    this.#unanswered++;
  }

  /** The hook answered for a message of so many held bytes. */
  answered(bytes: number): void {
    this.#unanswered--;
    this.release(bytes);
  }

  /** Calls `resume` once, when there is room again or nothing to wait for. */
  wait(resume: () => void): void {
    this.#waiting.add(resume);
  }

  forget(resume: () => void): void {
    this.#waiting.delete(resume);
  }

  #wake(): void {
    if (this.#waiting.size === 0 || (this.isFull() && this.willShrink())) return;
    const woken = [...this.#waiting];
    this.#waiting.clear();
    for (const resume of woken) resume();
  }
}

/** One for several listeners bounds them together. */
export function createBufferBudget(maxBytes: number): BufferBudget {
  return new BufferBudget(maxBytes);
}
