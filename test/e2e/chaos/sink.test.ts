/** What chaos relies on in its sink and of its signals, on real sockets and processes. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { createLimitWatch } from "#e2e/chaos/limit-watch.ts";
import { isLiving, signalLiving } from "#e2e/chaos/victims.ts";
import { type Sink, startSink } from "#e2e/kit/sink.ts";
import { until } from "#test/kit/until.ts";

async function begin(sink: Sink): Promise<Socket> {
  const socket = connect({ port: sink.ports[0] ?? 0, host: "127.0.0.1", noDelay: true });
  await once(socket, "data");
  return socket;
}

async function end(socket: Socket): Promise<void> {
  socket.resume();
  socket.end("QUIT\r\n");
  await once(socket, "close");
}

async function say(socket: Socket, text: string): Promise<void> {
  socket.write(text);
  await once(socket, "data");
}

async function send(socket: Socket, id: string): Promise<void> {
  await say(socket, "MAIL FROM:<a@acme.example>\r\n");
  await say(socket, `RCPT TO:<${id}@site0.test>\r\n`);
  await say(socket, "DATA\r\n");
  await say(socket, `X-Test-Id: ${id}\r\n\r\nend of ${id}\r\n.\r\n`);
}

test("startSink() notes of each copy which process sent it, and when it was begun and answered", async () => {
  await using sink = await startSink({ ports: 1 });
  for (const name of ["pid17.test", "mail.example", "pid18.test"]) {
    const socket = await begin(sink);
    await say(socket, `EHLO ${name}\r\n`);
    await send(socket, "m1");
    await end(socket);
  }
  const { count, copies = [] } = sink.arrivals.get("m1") ?? {};
  assert.equal(count, 3);
  assert.deepEqual(
    copies.map(({ by }) => by),
    [17, 0, 18],
  );
  for (const { begunAt, at } of copies) assert.ok(begunAt > 0 && begunAt <= at);
  assert.deepEqual([...sink.begun.keys()], [17, 18]);
  assert.deepEqual(sink.damaged, []);
});

const limits = [{ name: "limited", connections: 2 }];

test("createLimitWatch() at a sink: a third connection is seen, also one of a moment", async () => {
  const watch = createLimitWatch(limits);
  await using sink = await startSink({ ports: 1, watch });
  const held = [await begin(sink), await begin(sink)];
  const third = await begin(sink);
  third.destroy();
  await until("it to be told", () => watch.violations().length > 0);
  for (const socket of held) socket.destroy();
  watch.stop();
});

const turns = 300;

for (const [how, leave] of [
  ["with QUIT", end],
  [
    "by a reset",
    async (socket: Socket) => {
      socket.resetAndDestroy();
      await once(socket, "close");
    },
  ],
] as const)
  test(`createLimitWatch() at a sink: ${turns} times one that ends ${how} and the next, beside another, are never three`, async (t) => {
    const watch = createLimitWatch(limits);
    await using sink = await startSink({ ports: 1, watch });
    const beside = await begin(sink);
    for (let turn = 0; turn < turns; turn++) await leave(await begin(sink));
    assert.deepEqual(watch.violations(), []);
    t.diagnostic(`not sure: ${watch.doubtful().count}`);
    beside.destroy();
    watch.stop();
  });

test("signalLiving() hits processes that live, and neither one that is gone nor one that was not waited for", async (t) => {
  // The child of a shell that becomes another program: nobody ever waits for it.
  const parent = spawn("sh", ["-c", "sleep 0.3 & echo $!; exec sleep 60"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => parent.kill("SIGKILL"));
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const orphan = Number(line.toString());
  assert.ok(orphan > 0);
  if (process.platform === "linux") {
    await until("it to end", () => !isLiving(orphan));
    assert.ok(process.kill(orphan, 0), "signals are taken for it");
    assert.equal(signalLiving(orphan, "SIGKILL"), false);
  }
  assert.equal(signalLiving(parent.pid ?? 0, "SIGKILL"), true);
  await once(parent, "exit");
  assert.equal(signalLiving(parent.pid ?? 0, "SIGKILL"), false);
});
