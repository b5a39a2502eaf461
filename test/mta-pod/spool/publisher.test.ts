import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { maxMessageBytes } from "#crds/values/message-bounds.ts";
import { decodeEnvelope, recipientBytes } from "#crds/wire/envelope.ts";
import { bounds } from "#mta-pod/smtp-in/options.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import { createEntries } from "#mta-pod/spool/entries.ts";
import { createPublisher, envelopeFits, type Publisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool } from "#test/kit/spool.ts";

function store(publisher: Publisher, entry: Parameters<Publisher["store"]>[0]): Promise<Stored> {
  return new Promise((resolve) => publisher.store(entry, resolve));
}

const body = Buffer.from("Subject: x\r\n\r\nhello\r\n");

describe("createPublisher()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("stores an entry and takes the same id within the window for a duplicate", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/dup" });
    const publisher = createPublisher(spool);
    const entry = { shard: 1, envelope: envelope({ size: body.length }), body };
    const first = await store(publisher, entry);
    assert.partialDeepStrictEqual(first, { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0 });
    assert.partialDeepStrictEqual(await store(publisher, entry), {
      kind: "stored",
      seq: 1,
      duplicate: true,
      bodyChunks: 0,
    });
    const moved = await store(publisher, { ...entry, messageId: "mv:0:1" });
    assert.equal(moved.kind === "stored" && moved.seq, 2);
    assert.equal(publisher.inFlight(), 0);
    await publisher.close();
  });

  const addresses = [
    '"quoted \\" : \\r\\n and, comma"@example.net',
    "grüße@пример.рф",
    "tab\there@example.net",
    "nul\u0000and\u2028and\ud800@example.net",
    " leading and trailing ",
  ];
  for (const [index, address] of addresses.entries())
    test(`brings ${JSON.stringify(address)} back as it was`, async () => {
      await using spool = await startTestSpool(nats.url, { pool: `t/odd${index}` });
      const publisher = createPublisher(spool);
      const sent = envelope({ from: address, to: [address, "b@example.net"], size: body.length });
      const stored = await store(publisher, { shard: 0, envelope: sent, body });
      assert.equal(stored.kind, "stored");
      const entries = createEntries(spool);
      const fetched = await entries.fetch(0, 1);
      assert.equal(fetched.kind, "entry");
      // A lone surrogate is not text: JSON keeps it as an escape and brings it back.
      assert.deepEqual(fetched.kind === "entry" && fetched.envelope, sent);
      assert.ok(fetched.kind === "entry" && fetched.body.equals(body));
      await publisher.close();
      entries.close();
    });

  test("stores a body above the inline limit in chunks, and brings it back in order", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/chunks" });
    const publisher = createPublisher(spool);
    const entries = createEntries(spool);
    const large = Buffer.alloc(3_300_000);
    for (let at = 0; at < large.length; at += 4) large.writeUInt32LE(at, at);
    const sent = envelope({ size: large.length });
    const stored = await store(publisher, { shard: 0, envelope: sent, body: large });
    assert.partialDeepStrictEqual(stored, { kind: "stored", seq: 1, duplicate: false, bodyChunks: 7 });
    const fetched = await entries.fetch(0, 1);
    assert.ok(fetched.kind === "entry" && fetched.body.equals(large));
    assert.equal(fetched.envelope.bodyChunks, 7);
    // A child refers to the same chunks.
    const child = { ...fetched.envelope, site: "other.example" };
    await store(publisher, { shard: 1, envelope: child, body: fetched.body, messageId: "child" });
    const second = await entries.fetch(1, 1);
    assert.ok(second.kind === "entry" && second.body.equals(large));
    assert.equal(await entries.removeBody(sent.id), true);
    const damaged = await entries.fetch(0, 1);
    assert.deepEqual(damaged, {
      kind: "damaged",
      envelope: fetched.envelope,
      issues: [{ where: "body", expected: "3300000 bytes", got: "no chunk 0 of 7" }],
    });
    await publisher.close();
    entries.close();
  });

  test("refuses what does not fit the headers, and says so beforehand", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/large" });
    const publisher = createPublisher(spool);
    const to = Array.from({ length: 900 }, (_, index) => `${"r".repeat(60)}${index}@example.net`);
    const most = envelope({ to: to.slice(0, 700), size: body.length });
    const more = envelope({ to, id: "b", size: body.length });
    assert.equal(envelopeFits(most), true);
    assert.equal(envelopeFits(more), false);
    assert.equal((await store(publisher, { shard: 0, envelope: most, body })).kind, "stored");
    assert.deepEqual(await store(publisher, { shard: 0, envelope: more, body }), {
      kind: "refused",
      reason: "oversized",
    });
    await publisher.close();
  });

  test("refuses at once what exceeds its own bounds", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/over" });
    const publisher = createPublisher(spool, { maxInFlight: 3 });
    const answers = await Promise.all(
      ["a", "b", "c", "d"].map((id) =>
        store(publisher, { shard: 0, envelope: envelope({ id, size: body.length }), body }),
      ),
    );
    assert.deepEqual(
      answers.map((answer) => (answer.kind === "refused" ? answer.reason : answer.kind)),
      ["stored", "stored", "stored", "overloaded"],
    );
    await publisher.close();
    assert.deepEqual(await store(publisher, { shard: 0, envelope: envelope(), body }), {
      kind: "refused",
      reason: "unavailable",
    });
  });

  test("takes the largest message, also while another is on its way, and refuses what comes on top", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/most", maxBytesPerShard: 1_000_000_000 });
    const publisher = createPublisher(spool);
    const bodies = [body, Buffer.alloc(maxMessageBytes + 1_000, "x\r\n"), body];
    const answers = await Promise.all(
      bodies.map((each, index) =>
        store(publisher, {
          shard: 0,
          envelope: envelope({ id: `m${index}`, size: each.length }),
          body: each,
        }),
      ),
    );
    assert.deepEqual(
      answers.map((answer) => (answer.kind === "refused" ? answer.reason : answer.kind)),
      ["stored", "stored", "overloaded"],
    );
    await publisher.close();
  });

  test("has room for all recipients that a session takes", () => {
    const address = `${'\\"'.repeat(30)}grüße@${"d".repeat(60)}.example`;
    const count = Math.floor(bounds.recipientBytes / recipientBytes(address));
    const long = "x".repeat(255);
    const most = envelope({
      to: Array.from({ length: count }, () => address),
      from: `${'"'.repeat(64)}@${long}`,
      tenant: long,
      site: long,
      size: maxMessageBytes,
    });
    assert.equal(envelopeFits(most), true);
  });

  test('answers "full" quickly when the stream is, and stores again when there is room', async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/full", maxBytesPerShard: 300_000 });
    const publisher = createPublisher(spool);
    const entries = createEntries(spool);
    const heavy = Buffer.alloc(10_000, "x");
    const put = (id: number) =>
      store(publisher, { shard: 0, envelope: envelope({ id: `m${id}`, size: heavy.length }), body: heavy });
    const began = performance.now();
    const answers = await Promise.all(Array.from({ length: 60 }, (_, id) => put(id)));
    assert.ok(performance.now() - began < 3_000);
    const stored = answers.filter((answer) => answer.kind === "stored");
    assert.ok(stored.length >= 20 && stored.length < 30, `${stored.length} stored`);
    for (const answer of answers) if (answer.kind === "refused") assert.equal(answer.reason, "full");
    // Intake alone stops at 80 %: what was stored before the first look is more, so a new look is waited for.
    await eventually("intake to stop", async () => {
      const answer = await put(1_000);
      return answer.kind === "refused" && answer.reason === "full";
    });
    // Our own mail uses what intake leaves, up to the server's limit.
    await new Promise<void>((done) => entries.remove({ shard: 0, seq: 1 }, () => done()));
    const own = {
      shard: 0,
      envelope: envelope({ id: "dsn", size: heavy.length }),
      body: heavy,
      by: "pod",
    } as const;
    assert.equal((await store(publisher, own)).kind, "stored");
    for (const answer of stored)
      if (answer.kind === "stored")
        await new Promise<void>((done) => entries.remove({ shard: 0, seq: answer.seq }, () => done()));
    let id = 2_000;
    await eventually("room again", async () => (await put(id++)).kind === "stored");
    await publisher.close();
    entries.close();
  });

  test("gives up when no stream answers, and marks what it repeats", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/none" });
    const publisher = createPublisher(spool, { giveUpMs: 1_500 });
    const stream = spool.names.shardStream(0);
    await callApi(spool, { subject: `STREAM.DELETE.${stream}` });
    const entry = { shard: 0, envelope: envelope({ size: body.length }), body };
    assert.deepEqual(await store(publisher, entry), { kind: "refused", reason: "unavailable" });
    const late = store(publisher, entry);
    const subjects = spool.names.shardSubjects(0);
    await callApi(spool, { subject: `STREAM.CREATE.${stream}`, body: { name: stream, subjects } });
    assert.equal((await late).kind, "stored");
    const got = await callApi(spool, { subject: `STREAM.MSG.GET.${stream}`, body: { seq: 1 } });
    const message = got.kind === "ok" ? (got.value["message"] as { hdrs: string }) : { hdrs: "" };
    assert.match(Buffer.from(message.hdrs, "base64").toString(), /\r\nMb-Retry: 1\r\n/);
    await publisher.close();
  });

  test("does not repeat what is not wanted any more: a move whose shard another pod has by now", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/unwanted" });
    const publisher = createPublisher(spool);
    const stream = spool.names.shardStream(0);
    await callApi(spool, { subject: `STREAM.DELETE.${stream}` });
    let asked = 0;
    const repeats = () => (["now", "later", "later", "never"] as const)[asked++] ?? "never";
    const moved = { shard: 0, envelope: envelope({ size: body.length }), body, repeats };
    assert.deepEqual(await store(publisher, moved), { kind: "refused", reason: "unavailable" });
    assert.equal(asked, 4, "repeated as long as it was");
    await publisher.close();
  });
});

test("createPublisher() stores each of 2,000 exactly once although the server is killed in the middle", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const publisher = createPublisher(spool, { giveUpMs: 20_000 });
  const total = 2_000;
  const send = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, at) => {
      const sent = envelope({ id: `k${from + at}`, size: body.length });
      return store(publisher, { shard: at % 2, envelope: sent, body });
    });
  const answers = send(0, total / 2);
  await Promise.race(answers);
  // Some are stored by now, of some of these the answer is on its way; of the others some are written after the end, before anybody knows of it.
  answers.push(...send(total / 2, total));
  assert.ok(publisher.inFlight() >= total / 2, "the kill comes in the middle");
  process.kill(nats.pid(), "SIGKILL");
  await nats.restart();
  const stored = await Promise.all(answers);
  await eventually("the connection", () => spool.connected());
  const ids = new Map<string, number>();
  for (const shard of [0, 1]) {
    const stream = spool.names.shardStream(shard);
    const info = await callApi(spool, { subject: `STREAM.INFO.${stream}` });
    assert.equal(info.kind, "ok");
    const last = info.kind === "ok" ? (info.value["state"] as { last_seq: number }).last_seq : 0;
    for (let seq = 1; seq <= last; seq++) {
      const got = await callApi(spool, { subject: `STREAM.MSG.GET.${stream}`, body: { seq } });
      const message = got.kind === "ok" ? (got.value["message"] as { hdrs: string }) : { hdrs: "" };
      const text = Buffer.from(message.hdrs, "base64").toString();
      const line = text.split("\r\n").find((one) => one.startsWith("Mb-Envelope: "));
      const decoded = decodeEnvelope((line ?? "").slice("Mb-Envelope: ".length));
      assert.ok(decoded.ok);
      ids.set(decoded.value.id, (ids.get(decoded.value.id) ?? 0) + 1);
    }
  }
  assert.deepEqual(
    [...ids].filter(([, count]) => count > 1),
    [],
    "none twice",
  );
  for (const [index, answer] of stored.entries())
    if (answer.kind === "stored") assert.equal(ids.get(`k${index}`), 1, `k${index} was answered "stored"`);
  assert.deepEqual(
    stored.filter(({ kind }) => kind !== "stored"),
    [],
  );
  await publisher.close();
});

test('createPublisher() answers "unavailable" within its bound when the server stays away', async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const publisher = createPublisher(spool, { giveUpMs: 700 });
  await nats.kill();
  const began = performance.now();
  const answer = await store(publisher, { shard: 0, envelope: envelope({ size: body.length }), body });
  assert.deepEqual(answer, { kind: "refused", reason: "unavailable" });
  assert.ok(performance.now() - began < 5_000);
  await publisher.close();
});
