import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { idHashOf } from "#crds/wire/state-record.ts";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { readLast } from "#mta-pod/spool/bucket.ts";
import { createPublisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { ownersOf } from "#mta-pod/spool/rendezvous.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import { freeDead } from "#mta-pod/spool/witness.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool } from "#test/kit/spool.ts";
import { Pods } from "./pods.ts";

const shards = 8;
/** Short enough to wait for, long enough for a loaded machine. */
const shortLease = { ttlMs: 2_500, fenceMs: 2_000, memberTtlMs: 1_500 };

describe("createOwnership()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("shares the shards of a pool among three pods as the hashing says, each with one owner", async () => {
    await using pods = new Pods(nats.url);
    const names = ["pod-a", "pod-b", "pod-c"];
    await Promise.all(names.map((pod) => pods.start({ pool: "t/three", pod })));
    const owners = ownersOf(shards, names);
    await eventually("each shard at its owner", () =>
      owners.every(
        (owner, shard) =>
          pods
            .of(shard)
            .map(({ name }) => name)
            .join() === owner,
      ),
    );
    assert.deepEqual(pods.overlaps, []);
    const [first] = pods.of(0);
    assert.deepEqual(
      first?.ownership
        .members()
        .map(({ pod, state }) => `${pod} ${state}`)
        .sort(),
      names.map((name) => `${name} live`),
    );
  });

  test("hands over to a pod that joins, with what the corridor has to say", async () => {
    await using pods = new Pods(nats.url);
    const quiesce = async (shard: number) => ({ flying: [shard, 7] });
    await pods.start({ pool: "t/join", pod: "pod-a", quiesce });
    await eventually("one pod with all shards", () => pods.areShared(shards));
    assert.ok(pods.told.every(({ why, handOver }) => why === "absent" && handOver === null));
    pods.told.length = 0;
    const joined = await pods.start({ pool: "t/join", pod: "pod-b", quiesce });
    const mine = ownersOf(shards, ["pod-a", "pod-b"]).flatMap((pod, shard) =>
      pod === "pod-b" ? [shard] : [],
    );
    await eventually("the new pod's share", () => joined.ownership.ownedShards().join() === mine.join());
    assert.ok(pods.areShared(shards));
    assert.deepEqual(pods.overlaps, []);
    for (const shard of mine) {
      const told = pods.told.filter((event) => event.shard === shard);
      assert.ok(told.some(({ pod, why }) => pod === "pod-a" && why === "rebalance"));
      const won = told.find(({ what }) => what === "owned");
      assert.deepEqual(won?.handOver, { pod: "pod-a", incarnation: "1", record: { flying: [shard, 7] } });
      assert.equal(won?.why, "released");
    }
  });

  test("releases everything within a second, and the others own it", async () => {
    await using pods = new Pods(nats.url);
    const leaving = await pods.start({ pool: "t/leave", pod: "pod-a" });
    await pods.start({ pool: "t/leave", pod: "pod-b" });
    await eventually(
      "shared shards",
      () => pods.areShared(shards) && leaving.ownership.ownedShards().length < shards,
    );
    const had = leaving.ownership.ownedShards();
    assert.ok(had.length > 0);
    pods.told.length = 0;
    const startedAt = performance.now();
    await leaving.ownership.release();
    assert.ok(performance.now() - startedAt < 1_000);
    assert.deepEqual(leaving.ownership.ownedShards(), []);
    await eventually("the other pod with all shards", () => pods.areShared(shards), 1_500);
    assert.deepEqual(pods.overlaps, []);
    const lost = pods.told.filter(({ pod }) => pod === "pod-a");
    assert.deepEqual(
      lost.map(({ shard }) => shard).sort((a, b) => a - b),
      had,
    );
    assert.ok(lost.every(({ what, why }) => what === "lost" && why === "released"));
    const [other] = pods.of(0);
    assert.ok(other?.ownership.members().some(({ pod, state }) => pod === "pod-a" && state === "leaving"));
    await leaving.end();
    await eventually("that the pod is gone", () => other?.ownership.members().length === 1);
  });

  test("a shard that is won after the order to leave is released as well", async () => {
    await using pods = new Pods(nats.url);
    const first = await pods.start({ pool: "t/both", pod: "pod-a" });
    const second = await pods.start({ pool: "t/both", pod: "pod-b" });
    await eventually("shared shards", () => first.ownership.ownedShards().length === shards / 2);
    const released = first.ownership.release();
    pods.told.length = 0;
    // Claims of what was released just now are under way.
    while (!pods.told.some(({ what }) => what === "lost")) await new Promise(setImmediate);
    const startedAt = performance.now();
    await second.ownership.release();
    assert.ok(performance.now() - startedAt < 2_000, `${performance.now() - startedAt} ms`);
    assert.deepEqual(second.ownership.ownedShards(), []);
    await released;
  });

  test("a pod that ends alone leaves shards that its next start takes at once", async () => {
    await using pods = new Pods(nats.url);
    const first = await pods.start({ pool: "t/alone", pod: "pod-a" });
    await eventually("all shards", () => pods.areShared(shards));
    await first.ownership.release();
    await first.end();
    await pods.start({ pool: "t/alone", pod: "pod-z" });
    await eventually("all shards again", () => pods.areShared(shards));
  });

  test("takes over from a killed pod, but not before the lease has run out", async () => {
    await using pods = new Pods(nats.url);
    const doomed = await pods.start({ pool: "t/killed", pod: "pod-a", times: shortLease });
    await pods.start({ pool: "t/killed", pod: "pod-b", times: shortLease });
    await eventually(
      "shared shards",
      () => pods.areShared(shards) && doomed.ownership.ownedShards().length < shards,
    );
    const had = doomed.ownership.ownedShards();
    pods.told.length = 0;
    const killedAt = performance.now();
    await doomed.kill();
    await eventually("the survivor with all shards", () => pods.areShared(shards));
    assert.ok(performance.now() - killedAt >= shortLease.ttlMs - quickRenewal);
    const won = pods.told.filter(({ what, pod }) => what === "owned" && pod === "pod-b");
    assert.deepEqual(
      won
        .map(({ shard, why, handOver }) => `${shard} ${why} ${handOver?.pod} ${String(handOver?.record)}`)
        .sort(),
      had.map((shard) => `${shard} expired pod-a null`),
    );
  });

  test("takes over at once when somebody knows that the pod is dead", async () => {
    await using pods = new Pods(nats.url);
    const doomed = await pods.start({ pool: "t/witness", pod: "pod-a" });
    await pods.start({ pool: "t/witness", pod: "pod-b" });
    await eventually(
      "shared shards",
      () => pods.areShared(shards) && doomed.ownership.ownedShards().length < shards,
    );
    const had = doomed.ownership.ownedShards();
    pods.told.length = 0;
    await doomed.kill();
    await using witness = await startTestSpool(nats.url, { pool: "t/witness", pod: "runner", shards });
    assert.deepEqual((await freeDead(witness, { pod: "pod-a", incarnation: "0" })).shards, []);
    const freed = await freeDead(witness, { pod: "pod-a", incarnation: "1" });
    assert.deepEqual(freed, { shards: had, isComplete: true });
    await eventually("the survivor with all shards", () => pods.areShared(shards), 2_000);
    assert.ok(pods.told.every(({ why, pod }) => why === "witnessed" && pod === "pod-b"));
  });

  test("a restarted container takes back at once what its former self held", async () => {
    await using pods = new Pods(nats.url);
    const doomed = await pods.start({ pool: "t/restart", pod: "pod-a" });
    await pods.start({ pool: "t/restart", pod: "pod-b" });
    await eventually(
      "shared shards",
      () => pods.areShared(shards) && doomed.ownership.ownedShards().length < shards,
    );
    const had = doomed.ownership.ownedShards();
    await doomed.kill();
    pods.told.length = 0;
    const again = await pods.start({ pool: "t/restart", pod: "pod-a", incarnation: "2" });
    await eventually("the shards it had", () => again.ownership.ownedShards().join() === had.join(), 2_000);
    assert.deepEqual(
      pods.told.map(({ shard, why, pod }) => `${shard} ${why} ${pod}`).sort(),
      had.map((shard) => `${shard} witnessed pod-a`),
    );
  });

  test("refuses the state write of an owner whose lease is another's by now", async () => {
    await using pods = new Pods(nats.url);
    const stale = await pods.start({ pool: "t/epoch", pod: "pod-a", shards: 1 });
    await eventually("the shard", () => stale.ownership.mayProceed(0));
    const leaseSeq = pods.told[0]?.leaseSeq ?? 0;
    const states = createStates(stale.spool);
    const record = { attempt: 1, due: 1, open: [0], idHash: idHashOf("x"), last: "450 later" };
    assert.equal((await states.write(0, 1, { record, leaseSeq })).kind, "written");
    const fresh = await startTestSpool(nats.url, { pool: "t/epoch", pod: "runner", shards: 1 });
    await stale.kill();
    await freeDead(fresh, { pod: "pod-a", incarnation: "1" });
    await pods.start({ pool: "t/epoch", pod: "pod-b", shards: 1 });
    await eventually("its new owner", () => pods.areShared(1));
    const late = createStates(fresh);
    assert.equal((await late.write(0, 1, { record, leaseSeq })).kind, "fenced");
    const now = pods.told.at(-1)?.leaseSeq ?? 0;
    assert.ok(now > leaseSeq);
    assert.equal((await late.write(0, 1, { record, leaseSeq: now })).kind, "written");
    await fresh.close();
  });

  test("a pod that was freed by mistake stops at once", async () => {
    await using pods = new Pods(nats.url);
    const alive = await pods.start({ pool: "t/mistake", pod: "pod-a", shards: 1 });
    await eventually("the shard", () => alive.ownership.mayProceed(0));
    await alive.ownership.freeDead("pod-a", "1");
    await eventually("the loss", () => pods.told.some(({ why }) => why === "freed"));
    assert.deepEqual(pods.overlaps, []);
    await eventually("an owner", () => pods.areShared(1));
  });

  test("publishes a new epoch when a write was fenced though the lease is its own", async () => {
    await using pods = new Pods(nats.url);
    const pod = await pods.start({ pool: "t/again", pod: "pod-a", shards: 1 });
    await eventually("the shard", () => pod.ownership.mayProceed(0));
    const { leaseSeq } = pods.told[0] ?? assert.fail();
    pod.ownership.fenced(0, (leaseSeq ?? 0) - 1);
    assert.equal(
      pod.ownership.mayProceed(0),
      true,
      "a write under an epoch before this one says nothing of it",
    );
    pod.ownership.fenced(0, leaseSeq ?? 0);
    assert.equal(pod.ownership.mayProceed(0), false);
    await eventually("the shard again", () => pod.ownership.mayProceed(0));
    const [first, lost, second] = pods.told;
    assert.deepEqual([first?.why, lost?.why, second?.why], ["absent", "fenced", "resumed"]);
    assert.ok((second?.leaseSeq ?? 0) > (first?.leaseSeq ?? 0));
  });

  test("mayProceed() says no the moment the wall clock passes the fence, before anything is told", async () => {
    await using pods = new Pods(nats.url);
    let sleptMs = 0;
    const clock = { now: () => systemClock.now() + sleptMs, monotonic: () => systemClock.monotonic() };
    const pod = await pods.start({ pool: "t/slept", pod: "pod-a", shards: 1, clock });
    await eventually("the shard", () => pod.ownership.mayProceed(0));
    sleptMs = 100_000;
    assert.equal(pod.ownership.mayProceed(0), false);
    assert.equal(pod.ownership.owns(0), true);
    await eventually("the shard resumed", () => pods.told.some(({ why }) => why === "resumed"));
    assert.deepEqual(
      pods.told.map(({ why }) => why),
      ["absent", "fenced", "resumed"],
    );
  });

  test("takes over a shard that is full to the last byte", async () => {
    await using pods = new Pods(nats.url);
    const doomed = await pods.start({ pool: "t/full", pod: "pod-a", shards: 1, maxBytesPerShard: 60_000 });
    await eventually("the shard", () => pods.areShared(1));
    await fill(doomed.spool);
    await doomed.kill();
    pods.told.length = 0;
    await pods.start({ pool: "t/full", pod: "pod-a", incarnation: "2", shards: 1, maxBytesPerShard: 60_000 });
    await eventually("the full shard's owner", () => pods.areShared(1));
    const { names } = doomed.spool;
    const [owner] = pods.of(0);
    assert.ok(owner !== undefined);
    // Only the smaller epoch has no text: the usual one found no room.
    assert.deepEqual(await readLast(owner.spool, names.shardStream(0), names.leaseSubject(0)), {
      kind: "absent",
      revision: pods.told[0]?.leaseSeq,
    });
  });
});

const quickRenewal = 400;

/** Entries of falling size, until not even the smallest is taken. */
async function fill(spool: Parameters<typeof createPublisher>[0]): Promise<void> {
  const publisher = createPublisher(spool);
  let number = 0;
  for (const size of [5_000, 500, 50, 1]) {
    for (;;) {
      const body = Buffer.alloc(size, "x");
      const id = `id${number++}`;
      const stored = await new Promise<Stored>((resolve) =>
        publisher.store({ shard: 0, envelope: envelope({ id, size }), body }, resolve),
      );
      if (stored.kind !== "stored") break;
    }
  }
  let taken = true;
  while (taken) {
    const answer = await spool.ask({
      subject: spool.names.entrySubject(0, "a/b", "c"),
      payload: "",
      timeoutMs: 2_000,
    });
    taken = answer.kind === "answer" && !answer.message.data.toString().includes('"error"');
  }
  await publisher.close();
}

describe("createOwnership() while NATS is away", () => {
  test("goes on through a restart of the server that is shorter than the fence", async () => {
    await using nats = await startTestNats();
    await using pods = new Pods(nats.url);
    const pod = await pods.start({ pool: "t/away", pod: "pod-a" });
    await eventually("all shards", () => pods.areShared(shards));
    await nats.kill();
    await eventually("the loss of the connection", () => !pod.spool.connected());
    assert.ok(pods.areShared(shards));
    await nats.restart();
    await eventually("the connection", () => pod.spool.connected());
    const revisions = pod.ownership.ownedShards().length;
    assert.equal(revisions, shards);
    await pod.ownership.release();
    assert.deepEqual(
      pods.told.filter(({ what }) => what === "lost").map(({ why }) => why),
      Array.from({ length: shards }, () => "released"),
    );
  });

  test("stops at the fence when it stays away, and owns again when it is back", async () => {
    await using nats = await startTestNats();
    await using pods = new Pods(nats.url);
    await pods.start({ pool: "t/gone", pod: "pod-a", times: shortLease });
    await eventually("all shards", () => pods.areShared(shards));
    await nats.kill();
    await eventually("the fence", () => pods.told.filter(({ why }) => why === "fenced").length === shards);
    assert.equal(pods.of(0).length, 0);
    await nats.restart();
    await eventually("all shards again", () => pods.areShared(shards));
    assert.deepEqual(pods.overlaps, []);
  });
});
