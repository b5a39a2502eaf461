/** Messages this pod stored itself and is about to send: saves the fetch. Bounded; what does not fit is fetched. */
import type { Envelope } from "#crds/wire/envelope.ts";

const maxBytes = 24 * 1024 * 1024;

export interface HotBody {
  readonly envelope: Envelope;
  readonly body: Buffer;
}

/** Keyed by the scheduler's handles; when full the newest are not taken, since a backlog is read back in order anyway. */
export class HotBodies {
  readonly #held = new Map<number, HotBody>();
  #bytes = 0;

  put(handle: number, envelope: Envelope, body: Buffer): void {
    if (this.#bytes + body.length > maxBytes) return;
    this.#held.set(handle, { envelope, body });
    this.#bytes += body.length;
  }

  /** Gives it up: whoever takes it sends it, or fetches it the next time. */
  take(handle: number): HotBody | undefined {
    const held = this.#held.get(handle);
    if (held === undefined) return undefined;
    this.#held.delete(handle);
    this.#bytes -= held.body.length;
    return held;
  }

  clear(): void {
    this.#held.clear();
    this.#bytes = 0;
  }
}
