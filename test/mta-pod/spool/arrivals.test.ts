import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { encodeEnvelope } from "#crds/wire/envelope.ts";
import { poolNames } from "#crds/wire/subject.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import type { Frame } from "#mta-pod/spool/frame-reader.ts";
import { type Arrival, openArrivals } from "#mta-pod/spool/arrivals.ts";
import { createPublisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

const body = Buffer.from("Subject: x\r\n\r\nhello\r\n");

function store(spool: TestSpool, id: string, changes: { isForeign?: boolean; size?: number } = {}) {
  const { isForeign = true, size = body.length } = changes;
  const publisher = createPublisher(spool);
  return new Promise<Stored>((resolve) =>
    publisher.store({ shard: 0, envelope: envelope({ id, size }), body, isForeign }, resolve),
  );
}

describe("openArrivals()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("gives what another pod stores in the shard, with its sequence and its body", async () => {
    await using owner = await startTestSpool(nats.url, { pool: "t/heard", pod: "owner", shards: 2 });
    await using other = await startTestSpool(nats.url, { pool: "t/heard", pod: "other", shards: 2 });
    const heard: Arrival[] = [];
    const elsewhere: Arrival[] = [];
    openArrivals(owner, 0, (arrival) => heard.push(arrival));
    openArrivals(owner, 1, (arrival) => elsewhere.push(arrival));
    await owner.nc.flush();
    const stored = await store(other, "a");
    await eventually("the arrival", () => heard.length === 1);
    assert.equal(stored.kind === "stored" && stored.seq, heard[0]?.seq);
    assert.equal(heard[0]?.envelope.id, "a");
    assert.ok(heard[0]?.body?.equals(body));
    assert.deepEqual(elsewhere, []);
  });

  test("is silent about what the owner stores, about repeats, and about bodies of another length", async () => {
    await using owner = await startTestSpool(nats.url, { pool: "t/silent", pod: "owner", shards: 1 });
    await using other = await startTestSpool(nats.url, { pool: "t/silent", pod: "other", shards: 1 });
    const heard: string[] = [];
    openArrivals(owner, 0, ({ envelope: { id } }) => heard.push(id));
    await owner.nc.flush();
    await store(owner, "own", { isForeign: false });
    await store(other, "first");
    const repeat = await store(other, "first");
    assert.equal(repeat.kind === "stored" && repeat.duplicate, true);
    await store(other, "cut", { size: body.length + 1 });
    await store(other, "last");
    await eventually("the last", () => heard.includes("last"));
    assert.deepEqual(heard, ["first", "last"]);
  });

  test("an acknowledgement that overtakes its message is taken for it; what gets none is let go", () => {
    const subjects = new Map<string, (frame: Frame) => void>();
    let now = 0;
    const names = poolNames("t/early");
    const spool = {
      names,
      options: { clock: { monotonic: () => now } },
      hear(subject: string, heard: (frame: Frame) => void) {
        subjects.set(subject, heard);
        return () => {};
      },
    } as unknown as Spool;
    const given: string[] = [];
    openArrivals(spool, 0, ({ envelope: { id } }) => given.push(id));
    const message = (id: string): void =>
      subjects.get(names.foreignFilter(0))?.({
        subject: names.entrySubject(0, "t", "s"),
        reply: `reply.${id}`,
        copy: () => body,
        header: () => encodeEnvelope(envelope({ id, size: body.length })),
      } as unknown as Frame);
    const acknowledged = (id: string): void =>
      subjects.get(`${names.ackRoot(0)}.>`)?.({
        subject: `reply.${id}`,
        data: Buffer.from('{"stream":"S","seq":7}'),
      } as unknown as Frame);
    acknowledged("early");
    message("early");
    assert.deepEqual(given, ["early"]);
    message("late");
    message("forgotten");
    acknowledged("late");
    now += 5_000;
    message("next");
    acknowledged("forgotten");
    acknowledged("next");
    assert.deepEqual(given, ["early", "late", "next"]);
  });

  test("hears nothing while paused and after close()", async () => {
    await using owner = await startTestSpool(nats.url, { pool: "t/pause", pod: "owner", shards: 1 });
    await using other = await startTestSpool(nats.url, { pool: "t/pause", pod: "other", shards: 1 });
    const heard: string[] = [];
    const arrivals = openArrivals(owner, 0, ({ envelope: { id } }) => heard.push(id));
    arrivals.pause();
    await owner.nc.flush();
    await store(other, "paused");
    arrivals.resume();
    await owner.nc.flush();
    await store(other, "resumed");
    await eventually("the second", () => heard.length === 1);
    arrivals.close();
    await owner.nc.flush();
    await store(other, "closed");
    await owner.nc.flush();
    assert.deepEqual(heard, ["resumed"]);
  });
});
