import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { proxyLogin, startTestProxy } from "#test/kit/proxy.ts";
import { until } from "#test/kit/until.ts";

const hello = Buffer.from("050102", "hex");
const login = Buffer.concat([
  Buffer.from([1, proxyLogin.username.length]),
  Buffer.from(proxyLogin.username),
  Buffer.from([proxyLogin.password.length]),
  Buffer.from(proxyLogin.password),
]);

function ask(port: number, address = [127, 0, 0, 1]): Buffer {
  return Buffer.from([5, 1, 0, address.length === 4 ? 1 : 4, ...address, port >> 8, port & 255]);
}

/** A client that has said all it has to, one step after the other. */
async function dial(
  proxy: number,
  port: number,
  address?: number[],
): Promise<{ socket: Socket; reply: Buffer }> {
  const socket = connect(proxy, "127.0.0.1");
  socket.on("error", () => {});
  let reply: Buffer = Buffer.alloc(0);
  for (const [bytes, length] of [
    [hello, 2],
    [login, 2],
    [ask(port, address), 10],
  ] as const) {
    socket.write(bytes);
    reply = await read(socket, length);
  }
  return { socket, reply };
}

async function read(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null;
    if (bytes !== null) return bytes;
    if (socket.readableEnded || socket.destroyed) return Buffer.alloc(0);
    await Promise.race([once(socket, "readable"), once(socket, "close"), once(socket, "end")]);
  }
}

interface Backend extends AsyncDisposable {
  readonly port: number;
  readonly sockets: Socket[];
}

async function startBackend(): Promise<Backend> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("startProxy() holds back who sends faster than the other side reads, in both directions", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy();
  const { socket, reply } = await dial(proxy.port, backend.port);
  assert.equal(reply[1], 0);
  const peer = await until("the backend to be connected", () => backend.sockets[0]);
  const before = process.memoryUsage().rss;
  const much = Buffer.alloc(64 * 1024 * 1024, 1);
  for (const [from, to] of [
    [socket, peer],
    [peer, socket],
  ] as const) {
    to.pause();
    let done = false;
    from.write(much, () => (done = true));
    // Several turns in which an unbounded proxy would have swallowed all of it.
    await until("the kernel's buffers to be full", () => from.bytesWritten > 0 && from.writableNeedDrain);
    const held = from.writableLength;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!done && held > 32 * 1024 * 1024, `${held} bytes are still with the sender`);
    let got = 0;
    to.on("data", (chunk: Buffer) => (got += chunk.length));
    to.resume();
    await until("all of it", () => got === much.length, 30_000);
    to.removeAllListeners("data");
  }
  assert.ok(process.memoryUsage().rss - before < 300 * 1024 * 1024);
  socket.destroy();
});

test("startProxy() passes on the end of one direction and keeps the other", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy();
  const { socket } = await dial(proxy.port, backend.port);
  const peer = await until("the backend to be connected", () => backend.sockets[0]);
  socket.end("QUIT\r\n");
  peer.resume();
  await once(peer, "end");
  peer.end("221 bye\r\n");
  assert.equal((await read(socket, 9)).toString(), "221 bye\r\n");
  await until("the connection to be over", () => proxy.counts().open === 0);
  assert.deepEqual(proxy.counts().bytes, { out: 6, in: 9 });
});

test("startProxy() refuses destinations that are not allowed, and says which way a connection failed", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy({ isAllowed: (address) => address === "127.0.0.1" });
  const closed = await startBackend();
  await closed[Symbol.asyncDispose]();
  const codes = [];
  for (const [port, address] of [
    [backend.port, [127, 0, 0, 2]],
    [backend.port, [10, 0, 0, 1]],
    [closed.port, [127, 0, 0, 1]],
  ] as const)
    codes.push((await dial(proxy.port, port, [...address])).reply[1]);
  assert.deepEqual(codes, [2, 2, 5]);
  assert.equal(backend.sockets.length, 0);
  const { results } = proxy.counts();
  assert.deepEqual([results["not-allowed"], results.unreachable, results.connected], [2, 1, 0]);
});

test("startProxy() answers that no network leads to another family than that of the address to send from", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy({ sourceAddress: "127.0.0.1", isAllowed: () => true });
  assert.equal((await dial(proxy.port, backend.port)).reply[1], 0);
  assert.equal((await dial(proxy.port, backend.port, [...Array<number>(15).fill(0), 1])).reply[1], 3);
  assert.equal(proxy.counts().results.unreachable, 1);
});

test("startProxy() bounds connections, conversations and silence", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy({ maxConnections: 2, handshakeMs: 50, idleMs: 50 });
  const quiet = connect(proxy.port, "127.0.0.1");
  await once(quiet.resume(), "close");
  assert.equal(proxy.counts().results.timeout, 1);
  const { socket } = await dial(proxy.port, backend.port);
  await once(socket.resume(), "close");
  const pair = [connect(proxy.port, "127.0.0.1"), connect(proxy.port, "127.0.0.1")];
  await Promise.all(pair.map((one) => once(one, "connect")));
  const third = connect(proxy.port, "127.0.0.1");
  third.on("error", () => {});
  await once(third.resume(), "close");
  assert.equal(proxy.counts().results.full, 1);
  for (const one of pair) one.destroy();
});

test("startProxy() drains: takes no more, waits for what is open, cuts it off in the end", async () => {
  await using backend = await startBackend();
  await using proxy = await startTestProxy();
  const { socket } = await dial(proxy.port, backend.port);
  const early = connect(proxy.port, "127.0.0.1");
  early.on("error", () => {});
  await once(early, "connect");
  const drained = proxy.drain(60_000);
  early.resume();
  await until("the end of who had not asked", () => early.destroyed);
  const peer = await until("the backend to be connected", () => backend.sockets[0]);
  peer.write("250 still here\r\n");
  assert.equal((await read(socket, 16)).toString(), "250 still here\r\n");
  const late = connect(proxy.port, "127.0.0.1");
  const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
  socket.destroy();
  peer.end();
  await drained;
  await using stubborn = await startTestProxy();
  const kept = await dial(stubborn.port, backend.port);
  await stubborn.drain(20);
  kept.socket.resume();
  await until("the end of what was kept", () => kept.socket.destroyed);
});

test("startProxy() lets go of a destination when the pod leaves while it connects", async () => {
  await using proxy = await startTestProxy({ isAllowed: () => true, connectMs: 300 });
  const socket = connect(proxy.port, "127.0.0.1");
  socket.on("error", () => {});
  for (const bytes of [hello, login]) {
    socket.write(bytes);
    await read(socket, 2);
  }
  // TEST-NET-1: nobody answers, or the machine says at once that there is no way.
  socket.write(ask(25, [192, 0, 2, 1]));
  socket.resetAndDestroy();
  await until("the proxy to notice", () => {
    const { gone, unreachable, timeout } = proxy.counts().results;
    return gone + unreachable + timeout > 0;
  });
  assert.equal(proxy.counts().open, 0);
});
