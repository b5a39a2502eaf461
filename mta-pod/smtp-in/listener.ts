/** Listens for SMTP clients within bounds on their number; drains. `startListener` rejects when the port cannot be had. */
import { randomBytes } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import ipaddr from "ipaddr.js";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createBufferBudget } from "./buffer-budget.ts";
import { Connection } from "./connection.ts";
import type { ListenerContext, ListenerOptions, TlsMaterial } from "./options.ts";
import { TlsStore } from "./tls.ts";

export interface Listener {
  readonly port: number;
  connections(): number;
  /** For handshakes from now on; null takes STARTTLS away. Throws on material that is none, and keeps the old. */
  setTls(material: TlsMaterial | null): void;
  stopAccepting(): void;
  /** Stops accepting, answers what is open, 421 to the rest; after `graceMs` what is left is cut. */
  drain(graceMs: number): Promise<void>;
}

/** Above `maxConnections` so many more get a 421 at a time; beyond that the connection is just closed. */
const courtesyConnections = 64;
const courtesyMs = 1000;

class SmtpListener implements Listener {
  port = 0;
  readonly #options: ListenerOptions;
  readonly #context: ListenerContext;
  readonly #tls: TlsStore;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #perAddress = new Map<string, number>();
  readonly #idPrefix = randomBytes(5).toString("hex");
  #nextId = 0;
  #sweeper: NodeJS.Timeout | null = null;
  #deadline = Number.POSITIVE_INFINITY;
  #onEmpty: () => void = () => {};

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#tls = new TlsStore(options.tls);
    this.#context = {
      options,
      budget: options.budget ?? createBufferBudget(options.maxBufferedBytes),
      log: options.log ?? silentLog,
      now: this.#now(),
      draining: false,
      hasTls: this.#tls.isThere(),
    };
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    );
    this.#server.maxConnections = options.maxConnections + courtesyConnections;
  }

  listen(): Promise<void> {
    const { host, port, reusePort } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, reusePort, backlog: 1024 }, () => {
        this.#server.off("error", reject);
        const address = this.#server.address();
        if (address !== null && typeof address === "object") this.port = address.port;
        this.#server.on("error", (error) => this.#context.log.error("listener", { error: String(error) }));
        this.#sweeper = setInterval(() => this.#sweep(), this.#options.sweepMs ?? 1000).unref();
        resolve();
      });
    });
  }

  connections(): number {
    return this.#connections.size;
  }

  setTls(material: TlsMaterial | null): void {
    this.#tls.set(material);
    this.#context.hasTls = this.#tls.isThere();
  }

  stopAccepting(): void {
    if (this.#server.listening) this.#server.close();
  }

  drain(graceMs: number): Promise<void> {
    this.stopAccepting();
    this.#context.draining = true;
    this.#deadline = this.#now() + graceMs;
    for (const connection of this.#connections) connection.drain();
    return new Promise((resolve) => {
      this.#onEmpty = () => {
        if (this.#sweeper !== null) clearInterval(this.#sweeper);
        resolve();
      };
      if (this.#connections.size === 0) this.#onEmpty();
      else this.#sweep();
    });
  }

  #now(): number {
    return (this.#options.clock ?? systemClock).monotonic();
  }

  #sweep(): void {
    const now = this.#now();
    this.#context.now = now;
    for (const connection of this.#connections) {
      if (now >= this.#deadline) connection.destroy();
      else connection.sweep(now);
    }
  }

  #accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) {
      socket.destroy();
      return;
    }
    // Node gives IPv4 clients of a dual-stack socket as ::ffff:192.0.2.1.
    const ip = ipaddr.process(remoteAddress);
    const address = ip.toString();
    const sameAddress = this.#perAddress.get(address) ?? 0;
    const { maxConnections, maxConnectionsPerAddress, plaintextAuthFrom } = this.#options;
    if (this.#connections.size >= maxConnections || sameAddress >= maxConnectionsPerAddress)
      return this.#turnAway(socket);
    this.#perAddress.set(address, sameAddress + 1);
    const peer = {
      id: `${this.#idPrefix}-${(this.#nextId++).toString(36)}`,
      remoteAddress: address,
      remotePort,
      mayAuthInClear: plaintextAuthFrom === "loopback" && ip.range() === "loopback",
    };
    const onClosed = (): void => {
      this.#connections.delete(connection);
      this.#context.budget.sessionClosed();
      this.#leave(address);
    };
    const shared = { context: this.#context, tls: this.#tls };
    const connection = new Connection({ socket, peer, onClosed }, shared);
    this.#connections.add(connection);
    this.#context.budget.sessionOpened();
  }

  #leave(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
    if (this.#connections.size === 0 && this.#context.draining) this.#onEmpty();
  }

  #turnAway(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    if (this.#options.implicitTls) {
      socket.destroy();
      return;
    }
    socket.end("421 4.7.0 too many connections, try again later\r\n");
    socket.resume();
    setTimeout(() => socket.destroy(), courtesyMs).unref();
  }
}

/** With implicit TLS and no certificate (yet) it closes what connects. */
export async function startListener(options: ListenerOptions): Promise<Listener> {
  const listener = new SmtpListener(options);
  await listener.listen();
  return listener;
}
