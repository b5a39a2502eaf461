import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { encodeEnvelope, envelopeHeader, retryHeader } from "#crds/wire/envelope.ts";
import { encodeState, idHashOf } from "#crds/wire/state-record.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { parseDelivery } from "#mta-pod/spool/delivery.ts";
import { headerBlock, type HeaderLine } from "#mta-pod/spool/headers.ts";
import { createLocalNotes } from "#mta-pod/spool/local-notes.ts";
import { openShard, type ShardReader } from "#mta-pod/spool/shard-reader.ts";
import { deleteMessage } from "#mta-pod/spool/stream-state.ts";
import { ensureStreams } from "#mta-pod/spool/streams.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool } from "#test/kit/spool.ts";

/** Publishes until acknowledged; resolves to the sequence. */
async function publish(
  spool: Spool,
  subject: string,
  { payload = "", headers = [] }: { payload?: string; headers?: readonly HeaderLine[] },
): Promise<number> {
  for (;;) {
    const answer = await spool.ask({ subject, payload, headers: headerBlock(headers), timeoutMs: 2_000 });
    if (answer.kind !== "answer") continue;
    const { seq } = JSON.parse(answer.message.data.toString()) as { seq?: unknown };
    if (typeof seq === "number") return seq;
  }
}

function publishEntry(spool: Spool, id: string, extra: readonly HeaderLine[] = []): Promise<number> {
  const subject = spool.names.entrySubject(0, "mail/acme", `site-${id.length % 3}`);
  const line: HeaderLine = [envelopeHeader, encodeEnvelope(envelope({ id }))];
  return publish(spool, subject, {
    payload: "x".repeat(200),
    headers: [line, ["Nats-Msg-Id", id], ...extra],
  });
}

/** `count` entries with ids `<prefix>0` and so on, 100 at a time; resolves to their sequences. */
async function publishMany(spool: Spool, prefix: string, count: number): Promise<number[]> {
  const seqs: number[] = [];
  for (let from = 0; from < count; from += 100)
    seqs.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(100, count - from) }, (_, index) =>
          publishEntry(spool, `${prefix}${from + index}`),
        ),
      )),
    );
  return seqs;
}

function publishState(spool: Spool, seq: number): Promise<number> {
  const record = { attempt: 1, due: 5, open: [0], idHash: idHashOf(`${seq}`), last: "450 4.2.0 later" };
  return publish(spool, spool.names.stateSubject(0, seq), {
    payload: encodeState(record),
    headers: [["Nats-Rollup", "sub"]],
  });
}

class Index {
  readonly entries = new Map<number, string>();
  readonly states = new Map<number, number>();
  readonly damaged: number[] = [];
  readonly retries: number[] = [];
  readonly order: string[] = [];
  readonly resets: string[] = [];
  twice = 0;
  indexed: number | undefined;
  reader: ShardReader | undefined;
  size = (): number => this.entries.size;

  open(
    spool: Spool,
    options: { leaseSeq?: number; checkEveryMs?: number; freshSequences?: number } = {},
  ): this {
    const { leaseSeq = 0, checkEveryMs = 60_000, freshSequences } = options;
    this.reader = openShard({
      spool,
      shard: 0,
      leaseSeq,
      checkEveryMs,
      freshSequences,
      handlers: {
        onState: (seq, stateSeq) => {
          this.states.set(seq, stateSeq);
          this.order.push("state");
        },
        onEntry: ({ seq }, { id }, retry) => {
          if (this.entries.has(seq)) this.twice++;
          this.entries.set(seq, id);
          if (retry) this.retries.push(seq);
          this.order.push("entry");
        },
        onDamaged: ({ seq }) => void this.damaged.push(seq),
        onIndexed: (count) => {
          this.indexed = count;
        },
        onReset: (reason) => {
          this.resets.push(reason);
          this.entries.clear();
          this.states.clear();
          this.indexed = undefined;
        },
        indexSize: () => this.size(),
        knows: (seq) => this.entries.has(seq),
      },
    });
    return this;
  }

  close(): void {
    this.reader?.close();
  }
}

async function messages(spool: Spool): Promise<number> {
  const info = await callApi(spool, { subject: `STREAM.INFO.${spool.names.shardStream(0)}` });
  const { state } =
    info.kind === "ok" ? (info.value as { state: { messages: number } }) : { state: { messages: -1 } };
  return state.messages;
}

describe("openShard()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("gives the states first, then each stored entry, then says that it is done", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/order", shards: 1 });
    const seqs = await publishMany(spool, "a", 20);
    const stateSeq = await publishState(spool, seqs[3] ?? 0);
    await publishState(spool, seqs[4] ?? 0);
    const index = new Index().open(spool);
    await eventually("the index", () => index.indexed !== undefined);
    assert.equal(index.indexed, 20);
    assert.deepEqual(index.order.slice(0, 3), ["state", "state", "entry"]);
    assert.equal(index.states.get(seqs[3] ?? 0), stateSeq);
    assert.deepEqual(
      [...index.entries.keys()],
      [...seqs].sort((a, b) => a - b),
    );
    const late = await publishEntry(spool, "late", [[retryHeader, "1"]]);
    await eventually("the new arrival", () => index.entries.get(late) === "late");
    assert.deepEqual(index.retries, [late]);
    index.close();
  });

  test("gives the last ones before a long queue, and each once", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/fresh", shards: 1 });
    const seqs = (await publishMany(spool, "a", 20)).sort((a, b) => a - b);
    await deleteMessage(spool, spool.names.shardStream(0), seqs[2] ?? 0);
    const state = await publishState(spool, seqs[1] ?? 0);
    const index = new Index().open(spool, { freshSequences: state - (seqs[14] ?? 0) });
    await eventually("the index", () => index.indexed !== undefined);
    assert.deepEqual(
      [...index.entries.keys()],
      [...seqs.slice(15), ...seqs.slice(0, 2), ...seqs.slice(3, 15)],
    );
    assert.deepEqual([index.indexed, index.twice], [19, 0]);
    // The state of an early entry is no orphan.
    assert.equal(index.states.get(seqs[1] ?? 0), state);
    const read = await callApi(spool, {
      subject: `STREAM.MSG.GET.${spool.names.shardStream(0)}`,
      body: { seq: state },
    });
    assert.equal(read.kind, "ok");
    index.close();
  });

  test("is done at once with an empty shard, and with one whose last entries are deleted", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/empty", shards: 1 });
    const empty = new Index().open(spool);
    await eventually("the index", () => empty.indexed === 0);
    empty.close();
    const seqs = await publishMany(spool, "a", 5);
    for (const seq of seqs.slice(1)) await deleteMessage(spool, spool.names.shardStream(0), seq);
    const rest = new Index().open(spool);
    await eventually("the index", () => rest.indexed === 1);
    rest.close();
  });

  test("gives what it cannot read as damaged and leaves it stored", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/damaged", shards: 1 });
    const subject = spool.names.entrySubject(0, "mail/acme", "x");
    const broken = await publish(spool, subject, { headers: [[envelopeHeader, "[99,1]"]] });
    const bare = await publish(spool, subject, {});
    const index = new Index().open(spool);
    await eventually("the index", () => index.indexed === 2);
    assert.deepEqual(index.damaged, [broken, bare]);
    assert.equal(await messages(spool), 2);
    index.close();
  });

  test("removes the states whose entries are gone, and no others", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/orphans", shards: 1 });
    const seqs = await publishMany(spool, "a", 60);
    for (const seq of seqs) await publishState(spool, seq);
    for (const seq of seqs.slice(0, 50)) await deleteMessage(spool, spool.names.shardStream(0), seq);
    const index = new Index().open(spool);
    await eventually("the orphans' end", async () => (await messages(spool)) === 20);
    assert.equal(index.indexed, 10);
    index.close();
  });

  test("noteLocal() lets the caller index its own entries, and the tail skips just those", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/local", shards: 1 });
    await publishMany(spool, "old", 3);
    const index = new Index().open(spool);
    assert.equal(index.reader?.noteLocal(1), false);
    await eventually("the index", () => index.indexed === 3);
    assert.equal(index.reader?.noteLocal(2), false);
    let own = 0;
    const all = Array.from({ length: 500 }, async (_, number) => {
      const seq = await publishEntry(spool, `new${number}`);
      if (number % 2 === 0 || index.reader?.noteLocal(seq) !== true) return seq;
      assert.equal(index.entries.has(seq), false);
      index.entries.set(seq, `new${number}`);
      own++;
      return seq;
    });
    const seqs = await Promise.all(all);
    await eventually("all entries", () => index.entries.size === 503);
    assert.equal(index.twice, 0);
    // The tail has passed it: whatever it was, it has been given.
    const last = Math.max(...seqs);
    await eventually("the tail's end", () => index.reader?.noteLocal(last) === false);
    assert.ok(own <= 250);
    index.close();
  });

  test("starts again when the stream is another one under the same name", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/anew", shards: 1 });
    await publishMany(spool, "a", 10);
    const index = new Index().open(spool, { checkEveryMs: 50 });
    await eventually("the index", () => index.indexed === 10);
    await callApi(spool, { subject: `STREAM.DELETE.${spool.names.shardStream(0)}` });
    await ensureStreams(spool);
    await publishMany(spool, "b", 20);
    await eventually("the new index", () => index.indexed !== undefined && index.entries.size === 20);
    assert.ok(index.resets.length > 0);
    assert.ok([...index.entries.values()].every((id) => id.startsWith("b")));
    index.close();
  });

  test("starts again when twice the index holds the same number too many", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/count", shards: 1 });
    const seqs = await publishMany(spool, "a", 10);
    const index = new Index().open(spool, { checkEveryMs: 50 });
    await eventually("the index", () => index.indexed === 10);
    await deleteMessage(spool, spool.names.shardStream(0), seqs[2] ?? 0);
    await eventually("the new index", () => index.indexed === 9);
    assert.deepEqual(index.resets, ["9 entries stored, 10 indexed"]);
    index.close();
  });

  test("finds what is stored and in no index also while mail flows, when it has become the oldest", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/forgotten", shards: 1 });
    const seqs = await publishMany(spool, "a", 10);
    const forgotten = seqs[3] ?? 0;
    const index = new Index();
    let count = 0;
    // As if it was never the same twice.
    index.size = () => index.entries.size + (++count % 7) + 1;
    index.open(spool, { checkEveryMs: 50 });
    await eventually("the index", () => index.indexed === 10);
    index.entries.delete(forgotten);
    for (const seq of seqs)
      if (seq < forgotten) {
        await deleteMessage(spool, spool.names.shardStream(0), seq);
        index.entries.delete(seq);
      }
    await eventually("it to be in the index", () => index.entries.has(forgotten));
    assert.deepEqual(index.resets, [`entry ${forgotten} is stored and not indexed`]);
    index.close();
  });

  test("does not start again while the index is only busy", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/busy", shards: 1 });
    await publishMany(spool, "a", 10);
    let asked = 0;
    const index = new Index();
    index.size = () => 10 + (++asked % 7) + 1;
    index.open(spool, { checkEveryMs: 20 });
    await eventually("the index", () => index.indexed === 10);
    await eventually("several checks", () => asked > 20);
    assert.deepEqual(index.resets, []);
    index.close();
  });
});

describe("openShard() through a restart of the server", () => {
  test("gives each of 5,000 entries once, with deletions between and publishes meanwhile", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url, { pool: "t/restart", shards: 1 });
    await using other = await startTestSpool(nats.url, { pool: "t/restart", shards: 1, pod: "pod-1" });
    const old = await publishMany(other, "old", 5_000);
    const deleted = new Set(old.filter((seq) => seq % 7 === 0));
    await Promise.all([...deleted].map((seq) => deleteMessage(other, other.names.shardStream(0), seq)));
    const index = new Index().open(spool);
    const arriving = publishMany(other, "new", 2_000);
    await eventually("part of the index", () => index.entries.size > 100);
    await nats.kill();
    await nats.restart();
    const fresh = await arriving;
    const expected = new Set([...old.filter((seq) => !deleted.has(seq)), ...fresh]);
    await eventually(
      "the whole index",
      () => index.indexed !== undefined && index.entries.size >= expected.size,
      20_000,
    );
    assert.equal(index.twice, 0);
    assert.deepEqual(index.resets, []);
    assert.deepEqual(new Set(index.entries.keys()), expected);
    index.close();
  });
});

describe("createLocalNotes()", () => {
  test("knows exactly the noted sequences, in whatever order, and keeps none for ever", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 300 })), (noted) => {
        const notes = createLocalNotes();
        for (const seq of noted) notes.add(seq);
        const known = new Set(noted);
        for (let seq = 1; seq <= 301; seq++) assert.equal(notes.pass(seq), known.has(seq));
        assert.equal(notes.size(), 0);
      }),
    );
  });

  test("forgets what it is taken past", () => {
    const notes = createLocalNotes();
    for (const seq of [3, 4, 6]) notes.add(seq);
    assert.equal(notes.pass(5), false);
    assert.equal(notes.size(), 1);
    assert.equal(notes.pass(6), true);
  });
});

describe("parseDelivery()", () => {
  const cases = [
    ["$JS.ACK.MB_x_0.cons.1.42.7.1700000000000000000.5", { seq: 42, consumerSeq: 7, pending: 5 }],
    ["$JS.ACK._.hash.MB_x_0.cons.1.42.7.1700000000000000000.5", { seq: 42, consumerSeq: 7, pending: 5 }],
    [
      "$JS.ACK.hub.hash.MB_x_0.cons.1.42.7.1700000000000000000.5.rnd",
      { seq: 42, consumerSeq: 7, pending: 5 },
    ],
    ["$JS.ACK.MB_x_0.cons.1.x.7.17.5", undefined],
    ["$JS.ACK.1.2.3", undefined],
    ["_INBOX.a.b", undefined],
    ["", undefined],
  ] as const;
  for (const [reply, delivery] of cases)
    test(`reads "${reply}"`, () => assert.deepEqual(parseDelivery(reply), delivery));
});
