import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { callApi } from "#mta-pod/spool/api.ts";
import type { Envelope } from "#crds/wire/envelope.ts";
import { createBundles } from "#mta-pod/spool/bundles.ts";
import { isRemoved } from "#mta-pod/spool/deletions.ts";
import { createEntries, type Entries } from "#mta-pod/spool/entries.ts";
import { createPublisher } from "#mta-pod/spool/publisher.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

const body = Buffer.from("Subject: x\r\n\r\nhello\r\n");

interface StoredEntry {
  readonly id: string;
  readonly seq: number;
  readonly subject: string;
}

const mail = (id: string): Envelope => envelope({ id, size: body.length });

/** Stores `count` entries `e0…` in shard 0; their sequences are 1…count in a fresh pool. */
async function fill(spool: TestSpool, count: number): Promise<StoredEntry[]> {
  const publisher = createPublisher(spool);
  const one = (index: number) =>
    new Promise<StoredEntry>((resolve, reject) => {
      const id = `e${index}`;
      const sent = mail(id);
      publisher.store({ shard: 0, envelope: sent, body }, (stored) => {
        if (stored.kind === "stored") resolve({ id, seq: stored.seq, subject: stored.subject });
        else reject(new Error(stored.reason));
      });
    });
  const stored = await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
  await publisher.close();
  return stored;
}

function remove(entries: Entries, seq: number, id?: string, subject?: string): Promise<string> {
  return new Promise((resolve) =>
    entries.remove(
      id === undefined ? { shard: 0, seq } : { shard: 0, seq, entry: mail(id), subject },
      resolve,
    ),
  );
}

async function messages(spool: TestSpool): Promise<number> {
  const info = await callApi(spool, { subject: `STREAM.INFO.${spool.names.shardStream(0)}` });
  return info.kind === "ok" ? (info.value["state"] as { messages: number }).messages : -1;
}

describe("createEntries()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("fetches until removed; removing what is gone counts as removed", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/fetch" });
    const entries = createEntries(spool);
    await fill(spool, 2);
    const fetched = await entries.fetch(0, 1);
    assert.ok(fetched.kind === "entry" && fetched.body.equals(body));
    assert.ok(fetched.subject.startsWith(`${spool.names.entrySubject(0, "mail/acme", "example.net")}.o.`));
    assert.equal(await remove(entries, 1), "removed");
    assert.deepEqual(await entries.fetch(0, 1), { kind: "gone" });
    assert.deepEqual(await entries.fetch(0, 99), { kind: "gone" });
    assert.equal(await remove(entries, 1), "removed");
    assert.equal(await remove(entries, 99), "removed");
    assert.equal((await entries.fetch(0, 2)).kind, "entry");
    assert.equal(entries.removing(), 0);
  });

  test('answers "gone" for a sequence that is no entry, "damaged" for an unreadable one', async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/other" });
    const entries = createEntries(spool);
    const publish = (subject: string) => spool.ask({ subject, payload: "1", timeoutMs: 5_000 });
    await publish(spool.names.leaseSubject(0));
    await publish(spool.names.entrySubject(0, "a", "b"));
    assert.deepEqual(await entries.fetch(0, 1), { kind: "gone" });
    const damaged = await entries.fetch(0, 2);
    assert.equal(damaged.kind, "damaged");
  });

  test("removes an entry as unreadable only if it is", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/unreadable" });
    const entries = createEntries(spool);
    const [fine] = await fill(spool, 1);
    const subject = spool.names.entrySubject(0, "mail/acme", "example.net");
    await spool.ask({ subject, payload: "1", timeoutMs: 5_000 });
    assert.equal((await entries.fetch(0, 2)).kind, "damaged");
    for (const [seq, stored] of [
      [1, fine?.subject],
      [2, subject],
      [2, undefined],
    ] as const)
      await new Promise((resolve) =>
        entries.remove({ shard: 0, seq, subject: stored, isUnreadable: true }, resolve),
      );
    assert.deepEqual([(await entries.fetch(0, 1)).kind, (await entries.fetch(0, 2)).kind], ["entry", "gone"]);
  });

  test("removes thousands at once, although few are under way", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/many" });
    const entries = createEntries(spool);
    await fill(spool, 2_000);
    const removed = Array.from({ length: 2_000 }, (_, index) => remove(entries, index + 1));
    assert.equal(entries.removing(), 2_000);
    assert.ok((await Promise.all(removed)).every((answer) => answer === "removed"));
    assert.equal(await messages(spool), 0);
  });

  test("removes entries of a bundle together, and answers each removal, also the second of one entry", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bundle" });
    const bundles = createBundles();
    const stored = await fill(spool, 60);
    const last = Math.max(...stored.map(({ seq }) => seq));
    for (const { subject, seq } of stored) bundles.given(0, subject, seq);
    bundles.indexed(0, () => last);
    const entries = createEntries(spool, bundles);
    // An index that is read again meets what is on its way out, and drops it as settled.
    const answers: string[] = [];
    for (const one of [...stored, ...stored])
      void remove(entries, one.seq, one.id, one.subject).then((answer) => answers.push(answer));
    await eventually("all removals to be answered", () => answers.length === 120);
    assert.deepEqual(new Set(answers), new Set(["removed"]));
    assert.equal(entries.removing(), 0);
    assert.equal(await messages(spool), 0);
  });

  test("answers removals with unavailable when the spool closes first", async () => {
    const spool = await startTestSpool(nats.url, { pool: "t/closes" });
    const entries = createEntries(spool);
    await callApi(spool, { subject: `STREAM.DELETE.${spool.names.shardStream(0)}` });
    const answer = remove(entries, 1);
    await spool.close();
    assert.equal(await answer, "unavailable");
    assert.equal((await entries.fetch(0, 1)).kind, "unavailable");
  });
});

test("entries.remove() goes on through a kill of the server, and spares a sequence that was used again", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const entries = createEntries(spool);
  await fill(spool, 3);
  await nats.kill();
  await eventually("the disconnect", () => !spool.connected());
  const removed = [remove(entries, 1, "e0"), remove(entries, 2, "somebody else's"), remove(entries, 3)];
  await nats.restart();
  assert.deepEqual(await Promise.all(removed), ["removed", "removed", "removed"]);
  assert.deepEqual(await entries.fetch(0, 1), { kind: "gone" });
  assert.equal((await entries.fetch(0, 2)).kind, "entry");
  assert.deepEqual(await entries.fetch(0, 3), { kind: "gone" });
});

test("states.remove() spares an entry that has taken the record's sequence", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const states = createStates(spool);
  await fill(spool, 1);
  await nats.kill();
  await eventually("the disconnect", () => !spool.connected());
  const removed = new Promise((resolve) => states.remove(0, 1, { of: 1, done: resolve }));
  await nats.restart();
  assert.equal(await removed, "removed");
  assert.equal(await messages(spool), 1);
});

test("what was read before the connection broke is looked at again before it is removed", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const bundles = createBundles();
  const [entries, states] = [createEntries(spool, bundles), createStates(spool)];
  const stored = await fill(spool, 40);
  for (const { subject, seq } of stored) bundles.given(0, subject, seq);
  bundles.indexed(0, () => stored.length);
  const since = spool.options.clock.monotonic();
  await nats.kill();
  await eventually("the disconnect", () => !spool.connected());
  await nats.restart();
  await eventually("the reconnect", () => spool.connected());
  const take = (seq: number, entry: Envelope, subject: string): Promise<string> =>
    new Promise((resolve) => entries.remove({ shard: 0, seq, entry, subject, since }, resolve));
  // As many as are otherwise purged together; all but the first have somebody else's sequence by now, or another part of their message.
  const others = (id: string, seq: number): Envelope =>
    seq % 2 === 0 ? mail("another") : { ...mail(id), to: ["another@recipient.example"] };
  const removed = stored.map(({ seq, id, subject }) =>
    take(seq, seq === 1 ? mail(id) : others(id, seq), subject),
  );
  removed.push(new Promise((resolve) => states.remove(0, 2, { of: 1, since, done: resolve })));
  assert.deepEqual(new Set(await Promise.all(removed)), new Set(["removed"]));
  assert.equal(await messages(spool), stored.length - 1);
});

for (const [text, expected] of [
  ['{"type":"io.nats.jetstream.api.v1.stream_msg_delete_response","success":true}', true],
  ['{"error":{"code":400,"err_code":10043,"description":"sequence 99 not found"},"success":false}', true],
  ['{"error":{"code":500,"err_code":10057,"description":"no message found"},"success":false}', true],
  ['{"error":{"code":500,"err_code":10057,"description":"stream store EOF"},"success":false}', true],
  ['{"error":{"code":500,"err_code":10057,"description":"disk failed"},"success":false}', false],
  ['{"error":{"code":404,"err_code":10059,"description":"stream not found"},"success":false}', false],
  ["not json", false],
] as const)
  test(`isRemoved() reads ${text.slice(0, 90)} as ${expected}`, () => {
    assert.equal(isRemoved(Buffer.from(text)), expected);
  });
