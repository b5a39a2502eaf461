/** One client's socket: bytes in, replies out, TLS, time-outs. Trouble on the socket ends the connection, nothing else. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { bounds, type ListenerContext } from "./options.ts";
import { Session } from "./session.ts";
import { type Carrier, type Peer, SessionState } from "./session-state.ts";
import { describeTls, type TlsStore } from "./tls.ts";

export interface Accepted {
  readonly socket: Socket;
  readonly peer: Peer;
  /** Called once. */
  onClosed(): void;
}

/** What all connections of a listener share. */
export interface Shared {
  readonly context: ListenerContext;
  readonly tls: TlsStore;
}

export class Connection implements Carrier {
  readonly session: Session;
  readonly #context: ListenerContext;
  readonly #tls: TlsStore;
  readonly #onClosed: () => void;
  #socket: Socket;
  #isHeld = false;
  /** The client does not read since then (coarse monotonic ms); null = it does. */
  #blockedSince: number | null = null;
  #endedAt: number | null = null;
  #bannerTimer: NodeJS.Timeout | null = null;
  readonly #onData = (chunk: Buffer): void => this.session.feed(chunk);
  readonly #onEnd = (): void => this.session.peerEnded();
  readonly #onDrain = (): void => {
    this.#blockedSince = null;
    this.session.state.lastActive = this.#context.now;
    if (!this.#isHeld) this.#socket.resume();
  };
  readonly #onClose = (): void => {
    if (this.#bannerTimer !== null) clearTimeout(this.#bannerTimer);
    this.session.closed();
    this.#onClosed();
  };

  constructor({ socket, peer, onClosed }: Accepted, { context, tls }: Shared) {
    this.#socket = socket;
    this.#context = context;
    this.#tls = tls;
    this.#onClosed = onClosed;
    this.session = new Session(new SessionState(context, this, peer));
    if (context.options.implicitTls) this.#wrap(() => this.#greetSoon());
    else {
      this.#listen(socket);
      this.#greetSoon();
    }
  }

  write(text: string): void {
    if (!this.#socket.writable || this.#socket.write(text) || this.#blockedSince !== null) return;
    this.#blockedSince = this.#context.now;
    this.#socket.pause();
  }

  pause(): void {
    this.#isHeld = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isHeld = false;
    if (this.#blockedSince === null) this.#socket.resume();
  }

  startTls(): void {
    const raw = this.#socket;
    raw
      .off("data", this.#onData)
      .off("drain", this.#onDrain)
      .off("end", this.#onEnd)
      .off("close", this.#onClose);
    this.#wrap(() => {});
  }

  end(): void {
    if (this.#endedAt !== null) return;
    this.#endedAt = this.#context.now;
    this.#socket.end();
    // Unread input would turn our close into a reset, which may overtake the last reply.
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Looks for time-outs; `now` is monotonic. */
  sweep(now: number): void {
    const { state } = this.session;
    const { idleMs } = this.#context.options;
    if (this.#endedAt !== null) {
      if (now - this.#endedAt > bounds.lingerMs) this.destroy();
    } else if (this.#blockedSince !== null) {
      if (now - this.#blockedSince > idleMs) this.destroy();
    } else if (state.phase === "tls" || state.phase === "greeting") {
      if (now - state.lastActive > bounds.handshakeMs) this.destroy();
    } else if (!this.session.isHeldBack() && (now - state.lastActive > idleMs || this.#isTooSlow(now)))
      this.session.interrupt(421, "4.4.2", "timeout");
  }

  /** Ends now when nothing is open; else the session does when its transaction is answered. */
  drain(): void {
    if (this.session.state.phase === "tls") this.destroy();
    else if (this.session.isIdle()) {
      this.session.interrupt(421, "4.3.2", "shutting down, try again");
    }
  }

  #isTooSlow(now: number): boolean {
    const { phase, transaction, bodySince } = this.session.state;
    if ((phase !== "data" && phase !== "chunk") || transaction === null) return false;
    const elapsedMs = now - bodySince;
    if (elapsedMs <= this.#context.options.idleMs) return false;
    return transaction.body.bytes < (elapsedMs / 1000) * bounds.bodyBytesPerSecond;
  }

  #greetSoon(): void {
    const { bannerDelayMs = 0 } = this.#context.options;
    if (bannerDelayMs === 0) this.session.greet();
    else this.#bannerTimer = setTimeout(() => this.session.greet(), bannerDelayMs).unref();
  }

  #listen(socket: Socket): void {
    socket.on("data", this.#onData);
    socket.on("drain", this.#onDrain);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onClose);
    socket.on("error", () => socket.destroy());
  }

  /** Goes on in TLS; what was read in clear and not looked at yet reaches the handshake and fails it. */
  #wrap(onSecure: () => void): void {
    const raw = this.#socket;
    raw.on("error", () => raw.destroy());
    const secure: TLSSocket | null = this.#tls.wrap(raw);
    if (secure === null) {
      raw.once("close", this.#onClose);
      raw.destroy();
      return;
    }
    this.#socket = secure;
    secure.once("secure", () => {
      this.session.secured(describeTls(secure));
      onSecure();
    });
    this.#listen(secure);
  }
}
