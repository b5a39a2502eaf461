/**
 * The egress proxy: takes SOCKS5 from pods that log in and passes bytes on to allowed destinations, back-pressure both ways.
 * Everything is bounded: connections, the conversation's bytes and time, silence. Trouble ends one connection, never the proxy.
 */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Log } from "../runtime/log.ts";
import { isOtherFamily, replyToFailure } from "./failure-reply.ts";
import { connectReply, createSocksSession, type Login, replies, type ReplyCode } from "./socks-session.ts";

export interface ProxyOptions {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  /** To send from when the login asks for none; absent = the kernel's choice. */
  readonly sourceAddress?: string;
  readonly maxConnections: number;
  /** Until CONNECT is asked for. */
  readonly handshakeMs: number;
  /** Until the destination takes the connection. */
  readonly connectMs: number;
  /** Without a byte either way. More than pods wait for a reply after the final dot. */
  readonly idleMs: number;
  readonly log: Log;
  isLogin(login: Login): boolean;
  isAllowed(address: string): boolean;
}

/** What became of those who came. */
type ProxyResult =
  | "connected"
  | "full"
  | "protocol"
  | "login"
  | "not-allowed"
  | "unreachable"
  | "timeout"
  | "gone";

interface ProxyCounts {
  readonly results: Readonly<Record<ProxyResult, number>>;
  /** Of connections that ended: to destinations, and back. */
  readonly bytes: { readonly out: number; readonly in: number };
  /** Connections through to a destination. */
  readonly open: number;
}

export interface ProxyServer {
  readonly port: number;
  counts(): ProxyCounts;
  /** Takes no more; resolves when what is open has ended by itself, or is cut off after `ms`. */
  drain(ms: number): Promise<void>;
}

/** Silence that is put up with after one side has ended its direction; SMTP's sides end together. */
const lingerMs = 10_000;

/** Rejects when the port is taken. */
export async function startProxy(options: ProxyOptions): Promise<ProxyServer> {
  const results: Record<ProxyResult, number> = {
    connected: 0,
    full: 0,
    protocol: 0,
    login: 0,
    "not-allowed": 0,
    unreachable: 0,
    timeout: 0,
    gone: 0,
  };
  const bytes = { out: 0, in: 0 };
  /** Clients, with the sockets to their destinations; undefined = not there yet. */
  const clients = new Map<Socket, Socket | undefined>();
  let open = 0;
  let emptied: (() => void) | undefined;

  const through = (client: Socket, upstream: Socket): void => {
    open++;
    results.connected++;
    clients.set(client, upstream);
    client.pipe(upstream);
    upstream.pipe(client);
    for (const socket of [client, upstream]) {
      socket.setKeepAlive(true, 60_000);
      socket.setTimeout(options.idleMs, () => socket.destroy());
    }
    // Whoever has said all it had to say is not waited for as long.
    for (const socket of [client, upstream])
      socket.once("end", () => {
        for (const each of [client, upstream]) each.setTimeout(Math.min(lingerMs, options.idleMs));
      });
    client.once("close", () => {
      open--;
      bytes.out += upstream.bytesWritten;
      bytes.in += upstream.bytesRead;
      // What is written to the other side still goes out, unless this one failed.
      upstream.destroySoon();
    });
    upstream.once("close", () => client.destroySoon());
  };

  const reject = (client: Socket, result: ProxyResult, reply: Buffer): void => {
    results[result]++;
    client.end(reply);
    client.destroySoon();
  };

  const onward = (client: Socket, to: { address: string; port: number; from?: string }): void => {
    if (!options.isAllowed(to.address)) {
      options.log.warn("destination refused", { address: to.address, port: to.port });
      return reject(client, "not-allowed", connectReply(replies.notAllowed));
    }
    const localAddress = to.from ?? options.sourceAddress;
    const way = { to: to.address, from: localAddress };
    if (isOtherFamily(way)) return reject(client, "unreachable", connectReply(replies.networkUnreachable));
    const upstream = connect({
      host: to.address,
      port: to.port,
      noDelay: true,
      allowHalfOpen: true,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    const limit = setTimeout(() => fail("timeout", replies.timedOut), options.connectMs);
    const fail = (result: ProxyResult, code: ReplyCode): void => {
      clearTimeout(limit);
      client.off("close", left);
      upstream.destroy();
      reject(client, result, connectReply(code));
    };
    const left = (): void => {
      clearTimeout(limit);
      results.gone++;
      upstream.destroy();
    };
    client.once("close", left);
    const failed = (error: NodeJS.ErrnoException): void => {
      options.log.debug("destination failed", { ...to, error: error.message });
      fail(error.code === "ETIMEDOUT" ? "timeout" : "unreachable", replyToFailure(error, way));
    };
    upstream.once("error", failed);
    upstream.once("connect", () => {
      clearTimeout(limit);
      client.off("close", left);
      upstream.off("error", failed);
      upstream.on("error", () => client.destroy());
      client.write(connectReply(replies.done, boundOf(upstream)));
      through(client, upstream);
    });
    return undefined;
  };

  const converse = (client: Socket): void => {
    const session = createSocksSession((login) => options.isLogin(login));
    const limit = setTimeout(() => {
      results.timeout++;
      client.destroy();
    }, options.handshakeMs);
    const over = (): void => {
      clearTimeout(limit);
      client.off("data", heard);
    };
    const heard = (chunk: Buffer): void => {
      const step = session.push(chunk);
      switch (step.kind) {
        case "wait":
          return;
        case "write":
          client.write(step.bytes);
          return;
        case "connect":
          over();
          // Until somebody reads again, what comes stays with the kernel.
          client.pause();
          return onward(client, step);
        case "refused":
          over();
          client.resume();
          return reject(client, step.reason, step.bytes);
        default:
          return step satisfies never;
      }
    };
    client.on("data", heard);
    client.once("close", () => clearTimeout(limit));
  };

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    client.on("error", () => client.destroy());
    if (clients.size >= options.maxConnections) {
      results.full++;
      client.destroy();
      return;
    }
    clients.set(client, undefined);
    client.once("close", () => {
      clients.delete(client);
      if (clients.size === 0) emptied?.();
    });
    // A client that says goodbye before it is through wants nothing.
    client.once("end", () => {
      if (clients.get(client) === undefined) client.destroy();
    });
    converse(client);
  });
  await new Promise<void>((resolve, reject_) => {
    server.once("error", reject_);
    server.listen({ host: options.host, port: options.port }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    counts: () => ({ results, bytes, open }),
    async drain(ms) {
      server.close();
      for (const [client, upstream] of clients) if (upstream === undefined) client.destroy();
      if (clients.size === 0) return;
      const limit = setTimeout(() => {
        for (const client of clients.keys()) client.destroy();
      }, ms);
      await new Promise<void>((resolve) => (emptied = resolve));
      clearTimeout(limit);
    },
  };
}

function boundOf(socket: Socket): { address: string; port: number } {
  return { address: socket.localAddress ?? "", port: socket.localPort ?? 0 };
}
