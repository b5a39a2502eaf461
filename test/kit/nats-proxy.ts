/**
 * A way to a nats-server that can be cut, for all clients or for those of one name: nothing passes any more and nobody is told,
 * as when a network drops packets. What was on its way arrives when the way is mended.
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface NatsProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections there are. */
  open(): number;
  /** Clients whose name, as NATS knows it, ends with this; "" = all. Their new connections are as dead as the old. */
  cut(nameEnd: string): void;
  mend(nameEnd: string): void;
}

interface Way {
  readonly client: Socket;
  readonly server: Socket;
  /** undefined until the client has said it. */
  name: string | undefined;
  head: string;
}

/** More than the CONNECT line of any client. */
const headBound = 16_384;

/** @example await using proxy = await startNatsProxy(server.port); */
export async function startNatsProxy(targetPort: number): Promise<NatsProxy> {
  const ways = new Set<Way>();
  const cuts = new Set<string>();
  const isCut = ({ name }: Way): boolean => [...cuts].some((end) => name?.endsWith(end) ?? end === "");
  const fit = (way: Way): void => {
    for (const socket of [way.client, way.server])
      if (isCut(way)) socket.pause();
      else socket.resume();
  };
  const pass = (way: Way, from: Socket, to: Socket): void => {
    from.on("data", (data: Buffer) => {
      if (way.name === undefined && from === way.client) learnName(way, data, fit);
      // A slow reader slows its writer: the bytes wait in the kernel, not here.
      if (to.write(data)) return;
      from.pause();
      to.once("drain", () => fit(way));
    });
    from.on("error", () => from.destroy());
    from.on("close", () => {
      to.destroy();
      ways.delete(way);
    });
  };
  const server = createServer({ noDelay: true }, (client) => {
    const target = connect({ host: "127.0.0.1", port: targetPort, noDelay: true });
    const way: Way = { client, server: target, name: undefined, head: "" };
    ways.add(way);
    pass(way, client, target);
    pass(way, target, client);
    fit(way);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    open: () => ways.size,
    cut(nameEnd) {
      cuts.add(nameEnd);
      ways.forEach(fit);
    },
    mend(nameEnd) {
      cuts.delete(nameEnd);
      ways.forEach(fit);
    },
    async [Symbol.asyncDispose]() {
      for (const { client, server: target } of ways) {
        client.destroy();
        target.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function learnName(way: Way, data: Buffer, named: (way: Way) => void): void {
  way.head += data.toString("latin1").slice(0, headBound - way.head.length);
  const line = /^CONNECT (\{.*\})\r?$/m.exec(way.head)?.[1];
  if (line === undefined) return;
  const { name } = JSON.parse(line) as { name?: unknown };
  way.name = typeof name === "string" ? name : "";
  named(way);
}
