/** A listener that takes itself for a NATS server, for what a real one does not do. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Greets as `version` and answers pings; what else it does a test says by "connection". `url`: host:port. */
export async function pretendServer(version: string): Promise<{ server: Server; url: string }> {
  const server = createServer((socket) => {
    const info = {
      server_id: "x",
      version,
      go: "go",
      host: "127.0.0.1",
      port: 1,
      headers: true,
      max_payload: 1e6,
      proto: 1,
    };
    socket.on("error", () => {});
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on("data", (data) => {
      if (data.includes("PING")) socket.write("PONG\r\n");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return { server, url: `127.0.0.1:${typeof address === "object" ? address?.port : 0}` };
}
