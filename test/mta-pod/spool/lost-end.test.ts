import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { idHashOf } from "#crds/wire/state-record.ts";
import { createLoad } from "#mta-pod/load.ts";
import { createSettled, RecentIds } from "#mta-pod/recent-ids.ts";
import { createRepeats } from "#mta-pod/repeats.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Entry } from "#mta-pod/schedule/types.ts";
import { createEntries } from "#mta-pod/spool/entries.ts";
import { createPublisher, type Publisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { openShard } from "#mta-pod/spool/shard-reader.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool } from "#test/kit/spool.ts";

const body = Buffer.from("x");

function mail(id: string) {
  return envelope({ id, size: body.length });
}

function store(publisher: Publisher, id: string): Promise<Extract<Stored, { kind: "stored" }>> {
  return new Promise((resolve, reject) =>
    publisher.store({ shard: 0, envelope: mail(id), body }, (stored) =>
      stored.kind === "stored" ? resolve(stored) : reject(new Error(stored.reason)),
    ),
  );
}

describe("a server that lost its unsynced end, and uses sequences again", () => {
  test("the index is read anew; of an entry indexed before, the attempt finds another and the delete spares it", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url, { shards: 1 });
    const publisher = createPublisher(spool);
    const entries = createEntries(spool);
    const index = new Map<number, string>();
    const resets: string[] = [];
    const reader = openShard({
      spool,
      shard: 0,
      leaseSeq: 0,
      handlers: {
        onState: () => {},
        onEntry: ({ seq }, { id }) => void index.set(seq, id),
        onDamaged: () => assert.fail("nothing is damaged"),
        onIndexed: () => {},
        onReset: (reason) => {
          resets.push(reason);
          index.clear();
        },
      },
    });
    await store(publisher, "kept");
    await nats.save();
    await eventually("the reconnect", () => spool.connected());
    const lost = [await store(publisher, "lost-0"), await store(publisher, "lost-1")];
    await eventually("all three", () => index.size === 3);
    const since = spool.options.clock.monotonic();
    await nats.loseSinceSaved();
    await eventually("the reconnect", () => spool.connected());
    const again = await store(publisher, "again");
    assert.equal(again.seq, lost[0]?.seq, "or this shows nothing");
    await eventually("the new index", () => index.size === 2 && index.get(again.seq) === "again");
    assert.equal(resets.length, 1);
    // As it was indexed or under way before.
    const stale = { shard: 0, seq: again.seq, idHash: idHashOf("lost-0"), attempt: 0 } as Entry;
    const load = createLoad({ entries, states: createStates(spool), clock: spool.options.clock }, () => 0);
    assert.equal(await load(stale), "changed");
    const { subject } = again;
    const removed = { shard: 0, seq: again.seq, entry: mail("lost-0"), subject, since };
    await new Promise((resolve) => entries.remove(removed, resolve));
    assert.equal((await entries.fetch(0, again.seq)).kind, "entry");
    reader.close();
    await publisher.close();
  });

  test("an owner whose epoch is lost with it is told so, since an empty index writes nothing that would be refused", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url, { shards: 1 });
    const publisher = createPublisher(spool);
    const { seq } = await store(publisher, "one");
    let lost = 0;
    let indexed = 0;
    const handlers = {
      onState: () => {},
      onEntry: () => {},
      onDamaged: () => {},
      onReset: () => {},
      onIndexed: () => void indexed++,
      onEpochLost: () => void lost++,
    };
    const reader = openShard({ spool, shard: 0, leaseSeq: seq + 1, lagMs: 50, handlers });
    await eventually("the word", () => lost > 0);
    assert.equal(indexed, 0);
    await store(publisher, "two");
    await eventually("the index", () => indexed === 1);
    reader.close();
    await publisher.close();
  });

  test("its loss is noticed also when it has come as far again: what is indexed is not what is stored", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url, { shards: 1 });
    const publisher = createPublisher(spool);
    const entries = createEntries(spool);
    await nats.save();
    await eventually("the reconnect", () => spool.connected());
    const lost = await store(publisher, "lost");
    await nats.loseSinceSaved();
    await eventually("the reconnect", () => spool.connected());
    assert.equal((await store(publisher, "again")).seq, lost.seq);
    const load = createLoad({ entries, states: createStates(spool), clock: spool.options.clock }, () => 0);
    const of = (id: string): Entry =>
      ({ shard: 0, seq: lost.seq, idHash: idHashOf(id), attempt: 0 }) as Entry;
    assert.equal(await load(of("lost")), "changed");
    const loaded = await load(of("again"));
    assert.ok(typeof loaded === "object" && "body" in loaded);
    await publisher.close();
  });
});

test("the id of a deleted entry is forgotten in a restart: its repeat is stored again, and dropped as settled", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url, { shards: 1 });
  const publisher = createPublisher(spool);
  const entries = createEntries(spool);
  const recent = new RecentIds();
  const repeats = createRepeats({
    entries,
    log: silentLog,
    settled: createSettled(recent, { settledLog: { note: () => {} }, clock: { monotonic: () => 0 } }),
  });
  const first = await store(publisher, "repeated");
  recent.settled(mail("repeated"), 0);
  await new Promise((resolve) =>
    entries.remove({ shard: 0, seq: first.seq, entry: mail("repeated") }, resolve),
  );
  assert.equal(
    (await store(publisher, "repeated")).duplicate,
    true,
    "within the window, and before the restart",
  );
  await nats.kill();
  await nats.restart();
  await eventually("the reconnect", () => spool.connected());
  const again = await store(publisher, "repeated");
  assert.equal(again.duplicate, false, "or the server remembers by now, and recent-ids.ts has one task less");
  assert.equal(repeats.isRepeat(mail("repeated")), true);
  const { seq, subject } = again;
  await new Promise<void>((resolve) => repeats.drop({ shard: 0, seq, subject }, mail("repeated"), resolve));
  assert.equal((await entries.fetch(0, seq)).kind, "gone");
  await publisher.close();
});
