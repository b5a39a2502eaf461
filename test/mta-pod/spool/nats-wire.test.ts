import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { dialNats } from "#mta-pod/spool/nats-wire.ts";

const info = {
  server_id: "x",
  version: "2.15.1",
  go: "go",
  host: "127.0.0.1",
  port: 1,
  headers: true,
  max_payload: 1e6,
  proto: 1,
};

test("a flood from the server leaves everybody else their turns: no more than two buffers of it in one", async () => {
  const payload = "x".repeat(400);
  const messages = 20_000;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on("data", (data) => {
      if (data.includes("PING")) socket.write("PONG\r\n");
      const sid = /SUB flood (\d+)/.exec(data.toString("latin1"))?.[1];
      if (sid !== undefined)
        socket.write(`MSG flood ${sid} ${payload.length}\r\n${payload}\r\n`.repeat(messages));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  const { nc, wire } = await dialNats({ servers: `127.0.0.1:${port}`, reconnect: false }, silentLog);
  let heard = 0;
  let inTurn = 0;
  let mostInTurn = 0;
  await new Promise<void>((resolve) => {
    wire.hear("flood", (frame) => {
      assert.equal(frame.size, payload.length);
      if (inTurn === 0) setImmediate(() => (inTurn = 0));
      inTurn += frame.size;
      mostInTurn = Math.max(mostInTurn, inTurn);
      if (++heard === messages) resolve();
    });
  });
  assert.ok(mostInTurn <= 2 * 256 * 1024, `${mostInTurn} bytes in one turn`);
  assert.ok(mostInTurn > 64 * 1024, "a flood of nothing shows nothing");
  await nc.close();
  server.close();
});
