/**
 * A way from the machine into a cluster's network namespace. The inner half runs in the namespace and listens on a Unix
 * socket, which is of no namespace; a connection's first line says where it is to go: `HOST:PORT\n`. The outer half is a
 * port on 127.0.0.1. Nothing is sent to a pod's or Service's address from outside.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface Forward extends AsyncDisposable {
  /** 127.0.0.1:PORT */
  readonly address: string;
}

const maxLine = 300;

/** The inner half. */
export async function serveGate(socketPath: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    client.on("error", () => client.destroy());
    let head = Buffer.alloc(0);
    const read = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\n");
      if (end < 0) {
        if (head.length > maxLine) client.destroy();
        return;
      }
      client.off("data", read);
      client.pause();
      const line = head.subarray(0, end).toString();
      const cut = line.lastIndexOf(":");
      const target = connect({
        host: line.slice(0, cut),
        port: Number(line.slice(cut + 1)),
        allowHalfOpen: true,
      });
      target.write(head.subarray(end + 1));
      join(client, target);
    };
    client.on("data", read);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, resolve);
  });
  return server;
}

export interface ForwardOptions {
  /** The inner half's socket. */
  readonly gate: string;
  /** HOST:PORT in the namespace. */
  readonly to: string;
  /** 0 = any free one. */
  readonly port?: number;
  /** Speaks TLS to the inner side, for clients that cannot. */
  readonly tls?: TlsOptions | undefined;
}

export interface TlsOptions {
  /** PEM. */
  readonly ca: string;
  readonly servername: string;
}

/** The outer half. @example await using smtp = await forward({ gate, to: "10.96.0.7:25" }) */
export async function forward({ gate, to, port = 0, tls }: ForwardOptions): Promise<Forward> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const raw = connect({ path: gate, allowHalfOpen: true });
    raw.write(`${to}\n`);
    raw.on("error", () => client.destroy());
    const inner = tls === undefined ? raw : connectTls({ socket: raw, ...tls });
    join(client, inner);
    open.add(client).add(inner);
    client.once("close", () => void (open.delete(client), open.delete(inner)));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port }, resolve);
  });
  const address = server.address();
  return {
    address: `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((closed) => void server.close(closed));
    },
  };
}

function join(left: Socket, right: Socket): void {
  for (const [from, to] of [
    [left, right],
    [right, left],
  ] as const) {
    from.setNoDelay(true);
    from.on("error", () => to.destroy());
    // What has ended in order is passed on as an end; anything else cuts the other side, too.
    from.on("close", () => void (from.readableEnded || to.destroy()));
    from.pipe(to);
  }
}

/** `gate.ts inner SOCKET` or `gate.ts outer SOCKET HOST:PORT PORT`, as processes of their own; each says when it is ready. */
async function main([half = "", gate = "", to = "", port = "0"]: readonly string[]): Promise<void> {
  if (half === "inner") await serveGate(gate);
  else console.log((await forward({ gate, to, port: Number(port) })).address);
}

if (import.meta.main) await main(process.argv.slice(2));
