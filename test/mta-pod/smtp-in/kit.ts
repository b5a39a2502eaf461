/** A listener with hooks that remember, and a raw client to talk to it. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { reply, type Reply } from "#mta-pod/smtp/reply.ts";
import type { Inbound, InboundHooks, Login } from "#mta-pod/smtp/inbound.ts";
import { type Listener, startListener } from "#mta-pod/smtp-in/listener.ts";
import type { ListenerOptions } from "#mta-pod/smtp-in/options.ts";

export const acme: Login = { tenant: "mail/acme", credential: "app", stream: null };

export interface Recorder extends InboundHooks {
  readonly messages: Inbound[];
}

/**
 * Accepts user/secret, senders at acme.example, recipients but those whose local part says what to answer
 * (`bounce-550-5.1.1@…`), and messages as `queued as M<n>`.
 */
export function recordingHooks(overrides: Partial<InboundHooks> = {}): Recorder {
  const messages: Inbound[] = [];
  return {
    messages,
    async authenticate(_session, username, password) {
      if (username === "broken") throw new Error("no directory");
      return username === "user" && password === "secret"
        ? { ok: true, login: acme }
        : { ok: false, reply: reply(535, "5.7.8", "authentication failed") };
    },
    trusted: () => acme,
    mail: (_session, from) =>
      from.endsWith("@acme.example") ? null : reply(550, "5.7.1", "sender domain is not yours"),
    recipient(_session, _from, _to, next) {
      const wanted = /^bounce-(\d{3})-([\d.]+)@/.exec(next);
      return wanted === null ? null : reply(Number(wanted[1]), wanted[2] ?? "", "as asked");
    },
    malformed: (_session, _from, text) => reply(550, "5.6.0", text),
    message(inbound, answer) {
      messages.push(inbound);
      answer(reply(250, "2.0.0", `queued as M${messages.length}`));
    },
    ...overrides,
  };
}

export function listenerOptions(overrides: Partial<ListenerOptions> = {}): ListenerOptions {
  return {
    name: "submission",
    host: "127.0.0.1",
    port: 0,
    reusePort: false,
    tls: null,
    implicitTls: false,
    hostname: "mx.test",
    maxMessageBytes: () => 100_000,
    maxConnections: 100,
    maxConnectionsPerAddress: 100,
    maxBufferedBytes: 10_000_000,
    idleMs: 60_000,
    plaintextAuthFrom: "loopback",
    hooks: recordingHooks(),
    ...overrides,
  };
}

export interface Running extends AsyncDisposable {
  readonly listener: Listener;
  readonly hooks: Recorder;
}

export async function running(overrides: Partial<ListenerOptions> = {}): Promise<Running> {
  const hooks = recordingHooks(overrides.hooks ?? {});
  const listener = await startListener(listenerOptions({ ...overrides, hooks }));
  return { listener, hooks, [Symbol.asyncDispose]: () => listener.drain(0) };
}

/** A client that sends bytes as they are and reads whole replies. */
export class RawClient implements AsyncDisposable {
  socket: Socket;
  received = "";
  isClosed = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    this.attach(socket);
  }

  static async open(port: number): Promise<RawClient> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const client = new RawClient(socket);
    await once(socket, "connect");
    return client;
  }

  attach(socket: Socket): void {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.received += chunk.toString();
      this.#wake();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  send(text: string | Buffer): void {
    this.socket.write(text);
  }

  /** The next reply, all its lines, without the last CRLF; fails when the connection closes or stays silent. */
  async reply(): Promise<string> {
    for (;;) {
      const found = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3} [^\r\n]*\r\n/.exec(this.received);
      if (found !== null) {
        this.received = this.received.slice(found[0].length);
        return found[0].slice(0, -2);
      }
      if (this.isClosed)
        throw new Error(`closed while waiting for a reply, got ${JSON.stringify(this.received)}`);
      await this.#change();
    }
  }

  async replies(count: number): Promise<string[]> {
    const all: string[] = [];
    while (all.length < count) all.push(await this.reply());
    return all;
  }

  /** Everything until the peer closes. */
  async untilClosed(): Promise<string> {
    while (!this.isClosed) await this.#change();
    return this.received;
  }

  async ask(text: string): Promise<string> {
    this.send(text);
    return this.reply();
  }

  #change(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`nothing for 5 s, got ${JSON.stringify(this.received)}`)),
        5000,
      );
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
  }
}

/** Waits until `condition` holds; at most 5 s. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 5 s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export function accepted(text: string): Reply {
  return reply(250, "2.0.0", text);
}
