import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { connect } from "@nats-io/transport-node";
import { connectSpool } from "#mta-pod/spool/connection.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { pretendServer } from "#test/kit/pretend-nats.ts";
import { eventually, spoolOptions, startTestSpool } from "#test/kit/spool.ts";

for (const version of ["2.10.27", "2.12.3", "1.4.0"])
  test(`connectSpool() refuses a server of version ${version}`, async () => {
    const { server, url } = await pretendServer(version);
    await assert.rejects(connectSpool(spoolOptions(url)), {
      message: `Cannot use NATS server ${url}: expected version 2.14.0 or later, got ${version}`,
    });
    server.close();
  });

test("connectSpool() waits for a server that is not there yet, until it is aborted", async () => {
  const { server, url } = await pretendServer("2.15.1");
  server.close();
  await once(server, "close");
  const abort = new AbortController();
  const waiting = connectSpool(spoolOptions(url, { signal: abort.signal }));
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, { message: "enough" });
});

test("connectSpool() connects when the server comes", async () => {
  await using nats = await startTestNats();
  await nats.kill();
  let warned = 0;
  const log = { debug() {}, info() {}, error() {}, warn: () => void warned++ };
  const waiting = connectSpool(spoolOptions(nats.url, { log }));
  await eventually("a first failure", () => warned > 0);
  await nats.restart();
  const spool = await waiting;
  assert.equal(spool.connected(), true);
  await spool.close();
});

test("request() answers each request once: reply, no responders, deadline, broken connection, close", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  spool.nc.subscribe("echo", { callback: (_error, message) => void message.respond(message.data) });
  spool.nc.subscribe("mute", { callback: () => {} });
  const ask = (subject: string, timeoutMs = 5_000) => spool.ask({ subject, payload: "x", timeoutMs });
  const echoed = await ask("echo");
  assert.equal(echoed.kind === "answer" && echoed.message.data.toString(), "x");
  assert.deepEqual(await ask("nobody"), { kind: "none", reason: "no-responders" });
  assert.deepEqual(await ask("mute", 50), { kind: "none", reason: "timeout" });
  const tooLarge = { subject: "echo", payload: Buffer.alloc(9_000_000), timeoutMs: 5_000 };
  assert.deepEqual(await spool.ask(tooLarge), { kind: "none", reason: "unsendable" });
  const events: string[] = [];
  spool.onDisconnect(() => events.push("disconnect"));
  spool.onReconnect(() => events.push("reconnect"));
  const broken = ask("mute");
  await eventually("the request to be on its way", () => spool.nc.stats().outMsgs > 4);
  await nats.kill();
  assert.deepEqual(await broken, { kind: "none", reason: "disconnected" });
  assert.deepEqual(await ask("echo"), { kind: "none", reason: "disconnected" });
  await nats.restart();
  await eventually("the reconnect", () => spool.connected());
  assert.deepEqual(events, ["disconnect", "reconnect"]);
  assert.equal((await ask("echo")).kind, "answer");
  const open = ask("mute");
  await spool.close();
  assert.deepEqual(await open, { kind: "none", reason: "closed" });
  assert.deepEqual(await ask("echo"), { kind: "none", reason: "closed" });
  assert.equal(await spool.closed(), undefined);
});

test("a callback that throws leaves the connection working", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  spool.nc.subscribe("echo", { callback: (_error, message) => void message.respond(message.data) });
  const call = { subject: "echo", payload: "x", timeoutMs: 5_000 };
  spool.request(call, () => {
    throw new Error("a bug of the caller");
  });
  assert.equal((await spool.ask(call)).kind, "answer");
});

test("a reconnect is a spool's own, also when somebody else has connected in this process meanwhile", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const heard: string[] = [];
  spool.hear("heard.*", (frame) => heard.push(frame.subject));
  const other = await connect({ servers: nats.url });
  await other.close();
  await nats.kill();
  await eventually("the disconnect", () => !spool.connected());
  await nats.restart();
  await eventually("the reconnect", () => spool.connected());
  spool.nc.publish("heard.again");
  await eventually("the message", () => heard.length === 1);
  assert.equal((await spool.ask({ subject: "nobody", payload: "", timeoutMs: 5_000 })).kind, "none");
});

test("what a server is slow to read arrives whole: no byte is overwritten by what was asked after it", async () => {
  const { server, url } = await pretendServer("2.15.1");
  const chunks: Buffer[] = [];
  let reading: Socket | undefined;
  server.on("connection", (socket) => {
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (reading !== undefined || !chunk.includes("PUB part.0 ")) return;
      // From the first request on it does not read for a while.
      reading = socket.pause();
    });
  });
  const spool = await connectSpool(spoolOptions(url));
  const count = 200;
  for (let part = 0; part < count; part++) {
    const payload = Buffer.alloc(100_000, 33 + (part % 90));
    spool.request({ subject: `part.${part}`, payload, timeoutMs: 60_000 }, () => {});
  }
  await eventually("the server to read no more", () => reading !== undefined);
  reading?.resume();
  const end = `PUB part.${count - 1} `;
  const received = (): Buffer => Buffer.concat(chunks);
  await eventually("all", () => {
    const at = received().indexOf(end);
    return at >= 0 && received().length > at + 100_000;
  });
  const all = received();
  for (let part = 0; part < count; part++) {
    const line = all.indexOf(`PUB part.${part} `);
    const start = all.indexOf("\n", line) + 1;
    const payload = all.subarray(start, start + 100_000);
    assert.ok(payload.equals(Buffer.alloc(100_000, 33 + (part % 90))), `part ${part}`);
  }
  await spool.close();
  server.close();
});

test("bytes that are not the protocol cost a connection, and the next one is good", async () => {
  const { server, url } = await pretendServer("2.15.1");
  let connections = 0;
  server.on("connection", (socket) => {
    if (++connections === 1)
      socket.on("data", (data) => {
        if (data.includes("SUB ")) socket.write("MSG nonsense\r\n");
      });
  });
  const errors: string[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (event: string) => void errors.push(event) };
  const spool = await connectSpool(spoolOptions(url, { log }));
  await eventually("the second connection", () => connections === 2 && spool.connected());
  assert.ok(errors.includes("nats connection broken"));
  await spool.close();
  server.close();
});

test("close() works while the server is away", async () => {
  await using nats = await startTestNats();
  const spool = await startTestSpool(nats.url);
  await nats.kill();
  await eventually("the disconnect", () => !spool.connected());
  await spool.close();
});

test("nothing keeps the process alive after close()", async () => {
  await using nats = await startTestNats();
  const program = `
    import { startTestSpool, envelope } from "#test/kit/spool.ts";
    import { createPublisher } from "#mta-pod/spool/publisher.ts";
    import { createEntries } from "#mta-pod/spool/entries.ts";
    import { createStates } from "#mta-pod/spool/states.ts";
    import { createEventLog } from "#mta-pod/spool/events.ts";
    const spool = await startTestSpool(${JSON.stringify(nats.url)});
    const publisher = createPublisher(spool);
    createEntries(spool); createStates(spool);
    const log = createEventLog(spool);
    log.append({ time: Date.now(), pool: "p", pod: "x" }, { id: "a", type: "received", tenant: "t" });
    await new Promise((done) => publisher.store({ shard: 0, envelope: envelope(), body: Buffer.alloc(0) }, done));
    await spool.close();
    console.log("closed");`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: new URL("../../..", import.meta.url),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let closedAt = 0;
  child.stdout.once("data", () => {
    closedAt = performance.now();
  });
  const [code] = (await once(child, "exit")) as [number | null];
  assert.equal(code, 0);
  assert.ok(performance.now() - closedAt < 800, "it ends by itself, at once");
});
