/** A socket that speaks replies in and bytes out, in clear or in TLS; every way it can end is one `lost`. */
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import type { FaultKind, Target } from "../smtp/transaction.ts";
import { type Slices, slices, totalLength } from "./body.ts";
import { type Hop, proxyHeader, SocksClient } from "./hop.ts";
import { ReplyParser } from "./reply-parser.ts";
import type { TlsPolicy } from "./tls-policy.ts";

/** How a connection leaves: from a local address, or through a proxy. */
export interface Way {
  readonly localAddress?: string | undefined;
  readonly hop?: Hop | undefined;
}

export interface WireEvents {
  /** The proxy on the way has let us in; before `connected`. */
  reached(): void;
  connected(): void;
  secured(tls: string): void;
  reply(code: number, text: string): void;
  /** All replies that came together are reported; `more` = the beginning of another one is there. */
  read(more: boolean): void;
  /** The peer took what was written so far. */
  progress(): void;
  /** At most once, never after `destroy`. */
  lost(kind: FaultKind, text: string): void;
  /** Once and last: the socket is gone. */
  closed(): void;
}

/** See `writeMessage`. */
interface MessageEnd {
  finishMs(): number | undefined;
  written(): void;
}

/** Below this a message goes out in one buffer of its own: one copy costs less than three entries of a vector. */
const oneWriteBytes = 65_536;
/**
 * Where a message is put together, one after the other: what the kernel has taken, the next may overwrite. The envelope
 * before it is rarely longer than the room left for it.
 */
let writeBuffer = Buffer.allocUnsafeSlow(oneWriteBytes + 4_096);
/** Replies of all peers are read into it, one at a time: Node's own buffers are 64 KB each, garbage with every reply. */
const readBuffer = Buffer.allocUnsafeSlow(16_384);
/** What is given to the socket at once of a longer one: a peer that takes it shows progress, and memory stays flat. */
const windowBytes = 262_144;

export class Wire {
  #events: WireEvents;
  readonly #target: Target;
  readonly #parser: ReplyParser;
  #socket: Socket;
  #connected = false;
  #ended = false;
  #drained: (() => void) | undefined;
  readonly #hop: Hop | undefined;
  #socks: SocksClient | undefined;
  /** Where the proxy says that it sends from. */
  #sentFrom: string | undefined;

  constructor(target: Target, { localAddress, hop }: Way, events: WireEvents) {
    this.#events = events;
    this.#target = target;
    this.#hop = hop;
    this.#parser = new ReplyParser((code, text) => {
      if (!this.#ended) this.#events.reply(code, text);
    });
    const from = localAddress === undefined || hop !== undefined ? {} : { localAddress };
    const to =
      hop === undefined ? { host: target.address, port: target.port } : { host: hop.host, port: hop.port };
    this.#socket = connect({
      ...to,
      noDelay: true,
      ...from,
      onread: {
        buffer: readBuffer,
        callback: (bytes) => {
          this.#data(readBuffer.subarray(0, bytes));
          return true;
        },
      },
    });
    this.#socket.on("connect", () => {
      if (hop === undefined) this.#arrive();
      else if (!this.#ended) this.#passThrough(hop);
    });
    this.#listen(this.#socket);
  }

  /** Somebody else listens from now on, also within the event that is being reported. */
  handTo(events: WireEvents): void {
    this.#events = events;
  }

  get localAddress(): string {
    return this.#sentFrom ?? this.#socket.localAddress ?? "";
  }

  #arrive(): void {
    this.#connected = true;
    if (!this.#ended) this.#events.connected();
  }

  #passThrough(hop: Hop): void {
    if (hop.protocol === "SOCKS5") {
      this.#socks = new SocksClient(hop, this.#target);
      this.#socket.write(this.#socks.start());
      return;
    }
    this.#events.reached();
    const header = proxyHeader(hop.address ?? "", this.#target);
    if (header === undefined)
      return this.#lose("network", `${hop.address ?? "no address"} cannot send to ${this.#target.address}`);
    this.#sentFrom = hop.address;
    this.#socket.write(header);
    this.#arrive();
  }

  #hear(socks: SocksClient, chunk: Buffer): void {
    const step = socks.push(chunk);
    switch (step.kind) {
      case "wait":
        return;
      case "write":
        if (step.reached) this.#events.reached();
        this.#socket.write(step.bytes);
        return;
      case "refused":
        return this.#lose(step.byProxy ? "proxy" : "network", step.text);
      case "through":
        this.#socks = undefined;
        if (step.address !== "") this.#sentFrom = step.address;
        this.#arrive();
        if (step.rest.length > 0) this.#data(step.rest);
        return;
      default:
        return step satisfies never;
    }
  }

  /** Takes over the socket. What the peer sent in clear until now is dropped (RFC 3207 §6: response injection). */
  startTls(policy: TlsPolicy): void {
    const { host, port } = this.#target;
    const raw = this.#socket;
    raw.removeAllListeners();
    // Errors of the lower socket come through the upper one as well.
    raw.on("error", () => {});
    this.#parser.reset();
    const session = policy.session(host, port);
    const secure = connectTls({
      socket: raw,
      secureContext: policy.context(),
      // Opportunistic TLS protects from listeners, not from impostors: MX host names come from an unsigned DNS.
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(session === undefined ? {} : { session }),
    });
    secure.on("secureConnect", () => {
      if (!this.#ended) this.#events.secured(describe(secure));
    });
    secure.on("session", (ticket) => policy.keepSession(host, port, ticket));
    this.#socket = secure;
    this.#listen(secure);
  }

  write(text: string): void {
    this.#socket.write(text, "utf8");
  }

  /**
   * Writes `lead` and the parts. `finishMs` is asked right before the write that holds the last byte, and again after what it answers, until
   * that is 0; undefined leaves the message without its end, and the caller has to destroy the wire. `written` is called after that write, at
   * once or later.
   */
  writeMessage(lead: string, parts: readonly Buffer[], end: MessageEnd): void {
    const size = totalLength(parts);
    if (size > oneWriteBytes) {
      if (lead !== "") this.write(lead);
      this.#writeWindow(slices(parts), end);
      return;
    }
    const ms = end.finishMs();
    if (ms !== 0) return this.#later(ms, () => this.writeMessage(lead, parts, end));
    const leadLength = Buffer.byteLength(lead, "utf8");
    const bytes = leadLength + size;
    // TLS takes what it is given later, always.
    const isShared = !(this.#socket instanceof TLSSocket) && bytes <= writeBuffer.length;
    const whole = isShared ? writeBuffer.subarray(0, bytes) : Buffer.allocUnsafe(bytes);
    whole.write(lead, 0, "utf8");
    let at = leadLength;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#socket.write(whole);
    // The socket keeps what the kernel has no room for.
    if (isShared && this.#socket.writableLength > 0) writeBuffer = Buffer.allocUnsafeSlow(writeBuffer.length);
    end.written();
  }

  destroy(): void {
    this.#ended = true;
    this.#drained = undefined;
    this.#socket.destroy();
  }

  #later(ms: number | undefined, act: () => void): void {
    if (ms === undefined) return;
    setTimeout(() => {
      if (!this.#ended) act();
    }, ms);
  }

  #writeWindow(rest: Slices, end: MessageEnd, taken?: readonly Buffer[]): void {
    for (;;) {
      if (this.#ended) return;
      const window = taken ?? rest.next(windowBytes);
      const ms = rest.empty ? end.finishMs() : 0;
      if (ms !== 0) return this.#later(ms, () => this.#writeWindow(rest, end, window));
      let flows = true;
      this.#socket.cork();
      for (const part of window) flows = this.#socket.write(part);
      this.#socket.uncork();
      if (rest.empty) return end.written();
      if (!flows) {
        this.#drained = () => this.#writeWindow(rest, end);
        return;
      }
      this.#events.progress();
    }
  }

  #listen(socket: Socket): void {
    // Only TLS has such: what is read in clear goes into `readBuffer`. Without it neither would say that the peer has ended.
    socket.on("data", (chunk: Buffer) => this.#data(chunk));
    socket.on("drain", () => {
      const resume = this.#drained;
      this.#drained = undefined;
      if (this.#ended || resume === undefined) return;
      this.#events.progress();
      resume();
    });
    // Without waiting for our own writes to drain: a peer that has finished reads nothing any more.
    socket.on("end", () =>
      this.#lose(this.#closedKind(), this.#closedText("the peer closed the connection")),
    );
    socket.on("error", (error: NodeJS.ErrnoException) => this.#lose(this.#kindOf(error), textOf(error)));
    socket.on("close", () => {
      this.#lose(this.#closedKind(), this.#closedText("the connection is closed"));
      this.#events.closed();
    });
  }

  #data(chunk: Buffer): void {
    if (this.#ended) return;
    // A copy: it may keep the start of an answer until the rest comes.
    if (this.#socks !== undefined) return this.#hear(this.#socks, Buffer.from(chunk));
    const problem = this.#parser.push(chunk);
    if (problem !== undefined) return this.#lose("protocol", problem);
    if (!this.#ended) this.#events.read(this.#parser.begun);
  }

  #lose(kind: FaultKind, text: string): void {
    if (this.#ended) return;
    this.destroy();
    this.#events.lost(kind, text);
  }

  #closedKind(): FaultKind {
    return this.#connected || this.#hop === undefined ? "closed" : "proxy";
  }

  #closedText(text: string): string {
    if (this.#connected || this.#hop === undefined) return text;
    return `proxy ${this.#hop.host}:${this.#hop.port}: the proxy closed the connection`;
  }

  #kindOf(error: NodeJS.ErrnoException): FaultKind {
    if (!this.#connected) return this.#hop === undefined ? "network" : "proxy";
    if (error.code?.startsWith("ERR_SSL") || error.code?.startsWith("ERR_TLS")) return "tls";
    return error.code === "ECONNRESET" || error.code === "EPIPE" ? "closed" : "network";
  }
}

function describe(socket: TLSSocket): string {
  const cipher = socket.getCipher();
  return `${socket.getProtocol() ?? "TLS"} ${cipher.standardName ?? cipher.name}`;
}

function textOf(error: NodeJS.ErrnoException): string {
  return error.message === "" ? (error.code ?? error.name) : error.message;
}
