import assert from "node:assert/strict";
import { test } from "node:test";
import { day, start, World } from "./world.ts";

function one(): World {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({});
  return world;
}

test("a stale handle is harmless everywhere", () => {
  const world = one();
  const { handle } = world.dispatch();
  world.scheduler.finish(handle, { feedback: "good", connection: "kept" }, world.now);
  world.scheduler.settle(handle);
  world.add({});
  const before = JSON.stringify(world.scheduler.list({}, 10));
  world.scheduler.settle(handle);
  world.scheduler.defer(handle, start + 5, 1, world.now);
  world.scheduler.requeue(handle, world.now);
  world.scheduler.finish(handle, { feedback: "unreachable", connection: "closed" }, world.now);
  world.scheduler.relane(handle, { site: "x", tenant: "a", class: "bulk" }, world.now);
  assert.equal(world.scheduler.holdBeforeMail(handle, world.now).ms, 0);
  assert.equal(world.scheduler.entryOf(handle), undefined);
  assert.equal(JSON.stringify(world.scheduler.list({}, 10)), before);
  assert.equal(world.dispatch().connection, "reuse");
});

test("defer() counts in whole milliseconds, never early: what a pause has left is a fraction, and due times are stored", () => {
  const world = one();
  const { handle } = world.dispatch();
  world.scheduler.defer(handle, start + 1000.25, 1, world.now);
  world.scheduler.finish(handle, { feedback: "neutral", connection: "closed" }, world.now);
  assert.equal(world.scheduler.entryOf(handle)?.entry.due, start + 1001);
});

test("list() takes the oldest by the heads of the lanes, not what the first lane has", () => {
  const world = new World();
  const tenants = ["a", "b", "c"];
  world.tenants({ a: 1, b: 1, c: 1 });
  world.site("s", { connections: 1 });
  const receivedAt = [5, 7, 9, 1, 8, 2, 3, 4];
  for (const [index, ms] of receivedAt.entries())
    world.add({ tenant: tenants[Math.floor(index / 3)] ?? "" }, { receivedAt: start + ms });
  world.add({ tenant: "b" }, { receivedAt: start, due: start + day / 2 });
  const listed = (filter: object, limit: number): number[] =>
    world.scheduler.list(filter, limit).map(({ entry }) => entry.receivedAt - start);
  assert.deepEqual(listed({}, 5), [0, 1, 3, 4, 5]);
  assert.deepEqual(listed({ tenant: "a" }, 2), [5, 7]);
  assert.equal(listed({}, 100).length, 9);
});

test("dropShard() forgets its entries, and keeps counting a connection until finish", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({}, { shard: 1 });
  world.add({}, { shard: 1 });
  world.add({}, { shard: 1, due: start + 1000 });
  const kept = world.add({}, { shard: 2 });
  const dispatch = world.dispatch();
  world.scheduler.dropShard(1);
  assert.deepEqual(
    world.scheduler.list({}, 10).map(({ handle }) => handle),
    [kept],
  );
  assert.equal(world.next().kind, "sleep", "the limit of one connection still holds");
  world.scheduler.requeue(dispatch.handle, world.now);
  world.end(dispatch, "neutral", "closed");
  assert.equal(world.dispatch().handle, kept);
  world.run(day * 2);
  assert.equal(world.expired.length, 0);
});

test("what is asked for an entry before finish happens at finish", () => {
  const world = one();
  const dispatch = world.dispatch();
  world.scheduler.requeue(dispatch.handle, world.now);
  assert.equal(world.scheduler.entryOf(dispatch.handle)?.state, "inflight");
  assert.equal(world.next().kind, "idle");
  world.end(dispatch, "neutral");
  const again = world.dispatch();
  world.scheduler.defer(again.handle, start + 10, 4, world.now);
  world.end(again, "neutral");
  assert.equal(world.scheduler.entryOf(again.handle)?.state, "waiting");
  assert.equal(world.scheduler.entryOf(again.handle)?.entry.attempt, 4);
  world.now += 10;
  const last = world.dispatch();
  world.scheduler.settle(last.handle);
  world.end(last);
  assert.equal(world.scheduler.siteState("s").busy, 0);
  assert.equal(world.next().kind, "idle");
});

test("relane() takes an entry along in the state it has", () => {
  const world = one();
  world.site("t", { connections: 1 });
  const lane = { site: "t", tenant: "b", class: "bulk" } as const;
  world.tenants({ a: 1, b: 1 });
  const waiting = world.add({}, { due: start + 100 });
  const flying = world.dispatch();
  const ready = world.add({});
  for (const handle of [waiting, flying.handle, ready]) world.scheduler.relane(handle, lane, world.now);
  assert.deepEqual(
    [waiting, flying.handle, ready].map((handle) => world.scheduler.entryOf(handle)?.state),
    ["waiting", "inflight", "ready"],
  );
  assert.deepEqual(world.scheduler.siteState("s").queued, 0);
  assert.deepEqual(world.scheduler.siteState("s").busy, 1);
  assert.deepEqual(world.dispatch().lane, lane);
  world.end(flying, "neutral");
  world.scheduler.requeue(flying.handle, world.now);
  assert.equal(world.scheduler.siteState("s").busy, 0);
  assert.equal(world.scheduler.entryOf(flying.handle)?.lane.site, "t");
  assert.equal(world.scheduler.counts().tenants.get("a"), undefined);
});

test("requeue() of a waiting entry makes it ready, of a ready one changes nothing", () => {
  const world = one();
  const first = world.dispatch();
  world.done(first);
  const handle = world.add({}, { due: start + day / 2 });
  world.scheduler.requeue(handle, world.now);
  world.scheduler.requeue(handle, world.now);
  assert.equal(world.scheduler.counts().total.ready, 1);
  assert.equal(world.dispatch().handle, handle);
});

test("list() shows what is selected, in any state, up to its limit", () => {
  const world = one();
  world.site("t", { connections: 1 });
  world.add({ site: "t" });
  world.add({ site: "t", tenant: "b" }, { due: start + 5 });
  world.add({ site: "t", tenant: "b", class: "bulk" });
  const count = (filter: { site?: string; tenant?: string }, limit = 10) =>
    world.scheduler.list(filter, limit).length;
  assert.deepEqual(
    [
      count({}),
      count({ site: "t" }),
      count({ tenant: "b" }),
      count({ tenant: "b", site: "s" }),
      count({}, 2),
    ],
    [4, 3, 2, 0, 2],
  );
  assert.deepEqual(
    world.scheduler.list({ tenant: "b" }, 9).map(({ state }) => state),
    ["waiting", "suspended"],
  );
});

test("a site without mail is forgotten after a minute, one with an open connection or a charged rate is not", () => {
  const world = one();
  world.site("open", { connections: 1 });
  world.site("rated", { connections: 1, messagesPerSecond: 1 / 3600 });
  world.site("never used", { connections: 1 });
  world.add({ site: "open" });
  world.add({ site: "rated" });
  world.peer.ends = ({ lane }) => ({
    feedback: "good",
    connection: lane.site === "open" ? "kept" : "closed",
  });
  world.run(1000);
  for (let minute = 0; minute < 3; minute++)
    for (let call = 0; call < 9; call++) world.run(call === 0 ? 61_000 : 0);
  assert.deepEqual([...world.scheduler.sites()].sort(), ["open", "rated"]);
  assert.equal(world.scheduler.knowsSite("s"), false);
  assert.equal(world.add({ tenant: "a" }) >= 0, true);
  world.site("s", { connections: 1 });
  assert.equal(world.dispatch().lane.site, "s");
});

test("sites are forgotten behind one whose only lane runs empty all the time", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.peer.ends = ({ lane }) => ({
    feedback: "good",
    connection: lane.site === "busy" ? "kept" : "closed",
  });
  world.site("busy", { connections: 1 });
  for (let turn = 0; turn < 100; turn++) {
    world.site(`site ${turn}`, { connections: 1 });
    world.add({ site: "busy" });
    world.add({ site: `site ${turn}` });
    world.run(10_000);
  }
  const known = [...world.scheduler.sites()];
  assert.ok(known.length < 30, `${known.length} sites, of which 12 had mail within the last two minutes`);
  assert.ok(known.includes("busy"));
});

test("200,000 entries are indexed, deferred and settled", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1_000_000 });
  const handles = Array.from({ length: 200_000 }, (_, index) =>
    world.add({ site: index % 2 === 0 ? "s" : `site ${index % 1000}` }),
  );
  assert.equal(new Set(handles).size, 200_000);
  for (const handle of handles) world.scheduler.defer(handle, start + 1 + (handle % 97), 1, world.now);
  assert.equal(world.scheduler.counts().total.waiting, 200_000);
  for (const handle of handles) world.scheduler.defer(handle, start + 1 + (handle % 89), 2, world.now);
  world.run(100);
  const { ready, waiting, inflight } = world.scheduler.counts().total;
  assert.equal(waiting, 0);
  assert.equal(ready + inflight + world.sent.length - world.running, 200_000);
  for (const handle of handles) world.scheduler.settle(handle);
  assert.deepEqual(world.scheduler.counts().total, {
    ready: 0,
    waiting: 0,
    suspended: 0,
    inflight: 0,
    oldest: 0,
  });
  assert.equal(world.next().kind, "idle");
});

test("count(), handles() and shardSize() agree with list(), whatever the entries' states", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  for (const site of ["s", "t"]) world.site(site, { connections: 1 });
  for (const tenant of ["a", "b"])
    for (const site of ["s", "t"])
      for (let n = 0; n < 3; n++) world.add({ site, tenant }, { shard: n, due: n * (start + 1000) });
  world.scheduler.suspend({ tenant: "b" }, null, world.now);
  world.scheduler.next(world.now);
  for (const filter of [{}, { tenant: "a" }, { site: "t" }, { tenant: "b", site: "s" }, { tenant: "c" }]) {
    const listed = world.scheduler.list(filter, 100).map(({ handle }) => handle);
    assert.deepEqual(new Set(world.scheduler.handles(filter)), new Set(listed));
    assert.equal(world.scheduler.count(filter), listed.length);
  }
  const shards = (): number[] => [0, 1, 2].map((shard) => world.scheduler.shardSize(shard));
  const sizes = new Map<number, number>();
  for (const { entry } of world.scheduler.list({}, 100))
    sizes.set(entry.shard, (sizes.get(entry.shard) ?? 0) + 1);
  assert.deepEqual(
    shards(),
    [0, 1, 2].map((shard) => sizes.get(shard) ?? 0),
  );
  const [first] = world.scheduler.list({}, 1);
  world.scheduler.settle(first?.handle ?? 0);
  assert.equal(
    shards().reduce((sum, size) => sum + size),
    11,
  );
  for (const shard of sizes.keys()) world.scheduler.dropShard(shard);
  assert.deepEqual(shards(), [0, 0, 0]);
});

test("holds() knows an entry by its shard and sequence, from add to settle", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({}, { shard: 1, seq: 7 });
  world.add({}, { shard: 2, seq: 8, due: start + 1000 });
  const holds = (): boolean[] =>
    [
      [1, 7],
      [1, 8],
      [2, 8],
      [2, 0],
    ].map(([shard = 0, seq = 0]) => world.scheduler.holds(shard, seq));
  assert.deepEqual(holds(), [true, false, true, false]);
  const { handle } = world.dispatch();
  assert.deepEqual(holds(), [true, false, true, false], "under way");
  world.scheduler.finish(handle, { feedback: "good", connection: "kept" }, world.now);
  world.scheduler.settle(handle);
  assert.deepEqual(holds(), [false, false, true, false]);
});
