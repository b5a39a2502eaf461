import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { dialNats } from "#mta-pod/spool/nats-wire.ts";
import { pretendServer } from "#test/kit/pretend-nats.ts";

test("a flood from the server leaves everybody else their turns: no more than two buffers of it in one", async () => {
  const payload = "x".repeat(400);
  const messages = 20_000;
  const { server, url } = await pretendServer("2.15.1");
  server.on("connection", (socket) => {
    socket.on("data", (data) => {
      const sid = /SUB flood (\d+)/.exec(data.toString("latin1"))?.[1];
      if (sid !== undefined)
        socket.write(`MSG flood ${sid} ${payload.length}\r\n${payload}\r\n`.repeat(messages));
    });
  });
  const { nc, wire } = await dialNats({ servers: url, reconnect: false }, silentLog);
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
