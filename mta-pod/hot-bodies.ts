/** Messages that passed through this pod and that it is about to send: saves the fetch. Bounded; what does not fit is fetched. */
import type { Envelope } from "#crds/wire/envelope.ts";

const maxBytes = 24 * 1024 * 1024;
/** Full until it is emptied to this. */
const roomyShare = 0.5;

export interface HotBody {
  readonly envelope: Envelope;
  readonly body: Buffer;
  /** Under which it is stored. */
  readonly subject: string;
  /** When it was, monotonic ms. */
  readonly since: number;
}

interface HotBodyEvents {
  /** One was kept; `share` of the room is taken now, 0 to 1. */
  kept?(share: number): void;
  /** One did not fit, for the first time since there was room. */
  full?(): void;
  /** There is room again. */
  roomy?(): void;
}

/** Keyed by the scheduler's handles; when full the newest are not taken, since a backlog is read back in order anyway. */
export class HotBodies {
  readonly #held = new Map<number, HotBody>();
  #bytes = 0;
  #isFull = false;
  readonly #events: HotBodyEvents;

  constructor(events: HotBodyEvents = {}) {
    this.#events = events;
  }

  /** How full it is, 0 to 1. */
  get share(): number {
    return this.#bytes / maxBytes;
  }

  put(handle: number, message: HotBody): void {
    const { length } = message.body;
    if (this.#bytes + length > maxBytes) {
      if (!this.#isFull) this.#events.full?.();
      this.#isFull = true;
      return;
    }
    this.#held.set(handle, message);
    this.#bytes += length;
    this.#events.kept?.(this.share);
  }

  /** Gives it up: whoever takes it sends it, or fetches it the next time. */
  take(handle: number): HotBody | undefined {
    const held = this.#held.get(handle);
    if (held === undefined) return undefined;
    this.#held.delete(handle);
    this.#bytes -= held.body.length;
    this.#mindRoom();
    return held;
  }

  clear(): void {
    this.#held.clear();
    this.#bytes = 0;
    this.#mindRoom();
  }

  #mindRoom(): void {
    if (!this.#isFull || this.share > roomyShare) return;
    this.#isFull = false;
    this.#events.roomy?.();
  }
}
