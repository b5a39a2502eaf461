/**
 * The bytes between a pod and its NATS server: nats-core keeps the connection (login, TLS, reconnect, subscriptions), but
 * messages are read and written here, since its parser, its message objects and its writes were a tenth of a delivery.
 * Trouble ends the socket, and nats-core dials again.
 */
import { connect as connectSocket, type Socket } from "node:net";
import {
  type ConnectionOptions,
  deferred,
  type NatsConnection,
  NatsConnectionImpl,
  type ServerInfo,
  setTransportFactory,
} from "@nats-io/transport-node";
import { nodeResolveHost, NodeTransport } from "@nats-io/transport-node/lib/node_transport.js";
import type { Log } from "#mta-pod/runtime/log.ts";
import { type Frame, FrameReader } from "./frame-reader.ts";

interface Outgoing {
  readonly subject: string;
  readonly reply: string;
  /** As `headerBlock` writes them. */
  readonly headers?: string | undefined;
  readonly payload: Uint8Array | string;
}

/** "away" = there is no connection, or it has just ended; "too-large" = it is more than the server takes. */
type Gathered = "gathered" | "away" | "too-large";

export interface Wire {
  /** Gathers it for the next `flush`. */
  publish(outgoing: Outgoing): Gathered;
  flush(): void;
  /** `heard` is called for each message on the subject, also after a reconnect. Returns its end. */
  hear(subject: string, heard: (frame: Frame) => void): () => void;
}

/** Above it what is gathered is written. */
const writeBytes = 160 * 1024;
/** A payload above it is written from where it is: one more write costs less than the copy, and than what the copy sets off in V8. */
const ownWriteBytes = 32 * 1024;
const lineEnd = "\r\n";

/** What a connection's transports, one after the other, have in common. Its name among the options is our own. */
interface Shared {
  readonly log: Log;
  readonly heard: Map<number, (frame: Frame) => void>;
  nc: NatsConnectionImpl | undefined;
  transport: PodTransport | undefined;
}

type DialOptions = ConnectionOptions & { readonly mailboat?: Shared };

/** @throws Error as nats-core's `connect` does */
export async function dialNats(
  options: ConnectionOptions,
  log: Log,
): Promise<{ readonly nc: NatsConnection; readonly wire: Wire }> {
  const shared: Shared = { log, heard: new Map(), nc: undefined, transport: undefined };
  const { reconnectTimeWait = 0, reconnectJitter = 0 } = options;
  useOurTransport();
  const dialOptions: DialOptions = {
    ...options,
    mailboat: shared,
    reconnectDelayHandler() {
      // Whoever else connects in this process (tests do) leaves the library's own there.
      useOurTransport();
      return reconnectTimeWait + Math.random() * reconnectJitter;
    },
  };
  const nc = await NatsConnectionImpl.connect(dialOptions);
  if (!(nc instanceof NatsConnectionImpl)) throw new Error("Cannot use nats-core: expected its connection");
  shared.nc = nc;
  return { nc, wire: createWire(nc, shared) };
}

function useOurTransport(): void {
  setTransportFactory({ factory: () => new PodTransport(), dnsResolveFn: nodeResolveHost });
}

function createWire(nc: NatsConnectionImpl, shared: Shared): Wire {
  return {
    publish(outgoing) {
      const gathered = shared.transport?.gather(outgoing, nc.info?.max_payload) ?? "away";
      if (gathered === "gathered") nc.protocol.outMsgs++;
      return gathered;
    },
    flush: () => shared.transport?.flush(),
    hear(subject, heard) {
      const subscription = nc.subscribe(subject, { callback: () => {} });
      const sid = subscription.getID();
      shared.heard.set(sid, heard);
      return () => {
        shared.heard.delete(sid);
        subscription.unsubscribe();
      };
    },
  };
}

/** nats-core makes one for each attempt to connect. Without our options it is the library's own. */
class PodTransport extends NodeTransport {
  #shared: Shared | undefined;
  readonly #reader = new FrameReader({
    message: (frame) => this.#message(frame),
    line: (bytes) => this.#line(bytes),
  });
  #out = Buffer.allocUnsafeSlow(writeBytes);
  #gathered = 0;
  #greeted: ((info: ServerInfo) => void) | undefined;

  override connect(host: { hostname: string; port: number; tlsName: string }, options: DialOptions) {
    this.#shared = options.mailboat;
    return super.connect(host, options);
  }

  override dial(host: { hostname: string; port: number }): ReturnType<NodeTransport["dial"]> {
    if (this.#shared === undefined) return super.dial(host);
    const dialed = deferred<Socket>();
    const socket = connectSocket({
      host: host.hostname,
      port: host.port,
      noDelay: true,
      // One buffer for all reads: Node's own are 64 KB each, garbage with every read.
      onread: {
        buffer: () => this.#reader.room(),
        callback: (bytes, buffer) => {
          this.#read(() => this.#reader.filled(bytes));
          if (bytes < buffer.length) return true;
          // A full buffer, so more is waiting: libuv would take 32 of them, a fifth of a second of a long index, before any other socket.
          setImmediate(() => socket.resume());
          return false;
        },
      },
    });
    let failure: Error | undefined;
    socket.once("connect", () => {
      socket.removeAllListeners();
      dialed.resolve(socket);
    });
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => dialed.reject(failure));
    return dialed;
  }

  override peekInfo(): Promise<ServerInfo> {
    if (this.#shared === undefined) return super.peekInfo();
    const { socket } = this;
    return new Promise((resolve, reject) => {
      let failure: Error | undefined;
      socket.on("error", (error) => {
        failure = error;
      });
      socket.on("close", () => reject(failure));
      this.#greeted = (info) => {
        this.#greeted = undefined;
        socket.removeAllListeners();
        resolve(info);
      };
      this.#readFrom(socket);
    });
  }

  override setupHandlers(): void {
    super.setupHandlers();
    const shared = this.#shared;
    if (shared === undefined) return;
    this.socket.removeAllListeners("data");
    this.#readFrom(this.socket);
    shared.transport = this;
  }

  /** TLS's data; a plain socket has none, its reads go where `dial` said. */
  #readFrom(socket: Socket): void {
    socket.on("data", (bytes: Buffer) => this.#read(() => this.#reader.push(bytes)));
  }

  #read(read: () => void): void {
    if (this.isClosed) return;
    try {
      read();
    } catch (error) {
      this.#shared?.log.error("nats connection broken", { error: String(error) });
      this.socket.destroy();
    }
  }

  #message(frame: Frame): void {
    const shared = this.#shared;
    if (shared === undefined) return;
    try {
      const heard = shared.heard.get(frame.sid);
      if (heard !== undefined) return heard(frame);
      const { msg, data } = frame.parts();
      shared.nc?.protocol.processMsg(msg, data);
    } catch (error) {
      // One that throws must not cost the others their connection.
      shared.log.error("nats message failed", { subject: frame.subject, error: String(error) });
    }
    return undefined;
  }

  #line(bytes: Buffer): void {
    this.yields.push(bytes);
    this.signal.resolve();
    if (this.#greeted === undefined) return;
    const text = bytes.toString("utf8");
    if (text.startsWith("INFO ")) this.#greeted(JSON.parse(text.slice(5)));
  }

  gather({ subject, reply, headers = "", payload }: Outgoing, maxPayload = Infinity): Gathered {
    if (!this.socket?.writable) return "away";
    const headerBytes = Buffer.byteLength(headers);
    const payloadBytes = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
    const size = headerBytes + payloadBytes;
    if (size > maxPayload) return "too-large";
    const line =
      headers === ""
        ? `PUB ${subject} ${reply} ${size}${lineEnd}`
        : `HPUB ${subject} ${reply} ${headerBytes} ${size}${lineEnd}`;
    const isLarge = typeof payload !== "string" && payloadBytes > ownWriteBytes;
    const most = line.length + headerBytes + (isLarge ? 0 : payloadBytes) + lineEnd.length;
    if (this.#gathered + most > this.#out.length) {
      this.flush();
      if (most > this.#out.length) this.#out = Buffer.allocUnsafeSlow(most);
    }
    const out = this.#out;
    this.#gathered += out.write(line + headers, this.#gathered, "utf8");
    const at = this.#gathered;
    if (isLarge) {
      this.flush();
      this.socket.write(payload);
    } else if (typeof payload === "string") this.#gathered += out.write(payload, at, "utf8");
    else {
      out.set(payload, at);
      this.#gathered += payloadBytes;
    }
    this.#gathered += this.#out.write(lineEnd, this.#gathered, "latin1");
    return "gathered";
  }

  flush(): void {
    if (this.#gathered === 0) return;
    const gathered = this.#out.subarray(0, this.#gathered);
    this.#gathered = 0;
    if (this.isClosed || !this.socket?.writable) return;
    // TLS takes what it is given later, always: a copy of that size costs less than a new buffer each time.
    const isCopy = this.isEncrypted();
    this.socket.write(isCopy ? Buffer.from(gathered) : gathered);
    // What the kernel has not taken yet stays the socket's.
    const isTheirs = !isCopy && this.socket.writableLength > 0;
    if (isTheirs || this.#out.length > writeBytes) this.#out = Buffer.allocUnsafeSlow(writeBytes);
  }
}
