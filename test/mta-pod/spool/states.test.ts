import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { decodeState, idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import { direct } from "#mta-pod/spool/direct-get.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import { startNatsCluster } from "#test/kit/nats-cluster.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

function record(attempt: number): StateRecord {
  return { attempt, due: 1_700_000_000_000 + attempt, open: [0], idHash: idHashOf("a"), last: "450 later" };
}

/** Writes the shard's lease and returns its sequence, 0 = not stored. */
async function writeLease(spool: TestSpool): Promise<number> {
  const answer = await spool.ask({
    subject: spool.names.leaseSubject(0),
    payload: "owner",
    timeoutMs: 5_000,
  });
  return answer.kind === "answer"
    ? ((JSON.parse(answer.message.data.toString()) as { seq?: number }).seq ?? 0)
    : 0;
}

/** A stream with copies takes one conditional write on a subject at a time, and refuses the others as it refuses a former owner's. */
test("writes at once to a stream with three copies are all taken, and a former owner's is refused all the same", async (t) => {
  await using cluster = await startNatsCluster();
  await using spool = await startTestSpool(cluster.urls, { pool: "t/copies", replicas: 3 });
  const told: (readonly [number, number])[] = [];
  const states = createStates(spool, (shard, by) => void told.push([shard, by]));
  // Its leader may have just been chosen.
  await until("the stream to take writes", async () => (await writeLease(spool)) > 0);
  const former = await writeLease(spool);
  const leaseSeq = await writeLease(spool);
  const startedAt = performance.now();
  const count = 500;
  const writes = Array.from({ length: count }, (_, index) =>
    states.write(0, 10 + index, { record: record(1), leaseSeq }),
  );
  // Another process's, as while a shard changes hands: they meet now and then.
  const others = createStates(spool);
  for (let index = 0; index < 20; index++)
    writes.push(others.write(0, 1000 + index, { record: record(1), leaseSeq }));
  const late = states.write(0, 10, { record: record(2), leaseSeq: former });
  const kinds = new Map<string, number>();
  for (const { kind } of await Promise.all(writes)) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  t.diagnostic(`${count} writes in ${Math.round(performance.now() - startedAt)} ms`);
  assert.deepEqual([...kinds], [["written", count + 20]]);
  assert.deepEqual(await late, { kind: "fenced" });
  assert.deepEqual(told, [[0, former]], "whoever wrote it: its shard is another's, or its epoch was lost");
});

describe("createStates()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("keeps one record per entry: each write replaces the last", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/rollup" });
    const states = createStates(spool);
    const leaseSeq = await writeLease(spool);
    for (let attempt = 1; attempt <= 5; attempt++)
      for (const seq of [10, 11]) {
        const written = await states.write(0, seq, { record: record(attempt), leaseSeq });
        assert.equal(written.kind, "written");
      }
    const info = await callApi(spool, {
      subject: `STREAM.INFO.${spool.names.shardStream(0)}`,
      body: { subjects_filter: ">" },
    });
    assert.ok(info.kind === "ok");
    assert.deepEqual((info.value["state"] as { subjects: unknown }).subjects, {
      [spool.names.leaseSubject(0)]: 1,
      [spool.names.stateSubject(0, 10)]: 1,
      [spool.names.stateSubject(0, 11)]: 1,
    });
    const wanted = { last_by_subj: spool.names.stateSubject(0, 11) };
    const last = await direct(spool, spool.names.shardStream(0), wanted);
    assert.ok(last.kind === "message");
    assert.deepEqual(decodeState(last.data.toString()), { ok: true, value: record(5) });
    await new Promise((resolve) => states.remove(0, last.seq, { of: 11, done: resolve }));
    assert.equal((await direct(spool, spool.names.shardStream(0), wanted)).kind, "gone");
  });

  test("a former owner's write is refused once the lease was written again", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/fence" });
    const states = createStates(spool);
    const former = await writeLease(spool);
    assert.equal((await states.write(0, 10, { record: record(1), leaseSeq: former })).kind, "written");
    const current = await writeLease(spool);
    assert.deepEqual(await states.write(0, 10, { record: record(2), leaseSeq: former }), { kind: "fenced" });
    assert.equal((await states.write(0, 10, { record: record(3), leaseSeq: current })).kind, "written");
  });

  test("a full store refuses, and takes the write again when there is room", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/full", maxBytesPerShard: 20_000 });
    const states = createStates(spool);
    const leaseSeq = await writeLease(spool);
    const ballast = {
      subject: spool.names.entrySubject(0, "a", "b"),
      payload: Buffer.alloc(1_000),
      timeoutMs: 5_000,
    };
    await eventually("a full stream", async () => {
      const answer = await spool.ask(ballast);
      return answer.kind === "answer" && answer.message.data.toString().includes("maximum bytes exceeded");
    });
    let written = await states.write(0, 10, { record: record(1), leaseSeq });
    // A record is small: fill what the ballast left.
    for (let seq = 11; written.kind === "written"; seq++)
      written = await states.write(0, seq, { record: record(1), leaseSeq });
    assert.deepEqual(written, { kind: "unavailable", text: "maximum bytes exceeded" });
    await callApi(spool, {
      subject: `STREAM.MSG.DELETE.${spool.names.shardStream(0)}`,
      body: { seq: 2, no_erase: true },
    });
    assert.equal((await states.write(0, 10, { record: record(2), leaseSeq })).kind, "written");
  });
});

test("states.write() is repeated until a killed server is back", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const states = createStates(spool);
  const leaseSeq = await writeLease(spool);
  await nats.kill();
  const written = states.write(0, 10, { record: record(1), leaseSeq });
  await nats.restart();
  assert.deepEqual(await written, { kind: "written", stateSeq: leaseSeq + 1 });
});
