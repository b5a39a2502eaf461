import assert from "node:assert/strict";
import { test } from "node:test";
import { day, start, World } from "./world.ts";

function two(): World {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  for (const site of ["s", "t"]) {
    world.site(site, { connections: 100 });
    for (const tenant of ["a", "b"]) world.add({ site, tenant });
  }
  return world;
}

function sentLanes(world: World): string[] {
  world.run(1000);
  return world.sent.map(({ dispatch }) => `${dispatch.lane.tenant}@${dispatch.lane.site}`).sort();
}

const all = ["a@s", "a@t", "b@s", "b@t"];

test("suspend() holds what it selects and nothing else", () => {
  for (const [selector, held] of [
    [{ tenant: "a" }, ["a@s", "a@t"]],
    [{ site: "t" }, ["a@t", "b@t"]],
    [{ site: "t", tenant: "b" }, ["b@t"]],
    [{}, all],
    [{ tenant: "nobody" }, []],
  ] as const) {
    const world = two();
    world.scheduler.suspend(selector, null, world.now);
    assert.deepEqual(
      sentLanes(world),
      all.filter((lane) => !held.some((one) => one === lane)),
    );
    world.scheduler.resume(selector, world.now);
    assert.deepEqual(sentLanes(world), all);
  }
});

test("a suspension also holds lanes that come later, and ends at its time", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.scheduler.suspend({ tenant: "a" }, start + 500, world.now);
  world.add({});
  assert.equal(world.scheduler.siteState("s").binding, "suspended");
  world.run(499);
  assert.equal(world.sent.length, 0);
  world.run(1);
  assert.equal(world.sent.length, 1);
});

test("resume() lifts every suspension within its selection and none beyond it", () => {
  const world = two();
  world.scheduler.suspend({ tenant: "a", site: "s" }, null, world.now);
  world.scheduler.suspend({ tenant: "b" }, null, world.now);
  world.scheduler.resume({ tenant: "a" }, world.now);
  assert.deepEqual(sentLanes(world), ["a@s", "a@t"]);
  world.scheduler.resume({}, world.now);
  assert.deepEqual(sentLanes(world), all);
});

test("a tenant that is held, or unknown to the configuration, keeps its mail until it is not", () => {
  const world = new World();
  world.site("s", { connections: 10 });
  const handle = world.add({ tenant: "a" });
  assert.equal(world.scheduler.entryOf(handle)?.state, "suspended");
  for (const held of [
    new Map(),
    new Map([["a", { weight: 1, held: true }]]),
    new Map([["b", { weight: 1, held: false }]]),
  ]) {
    world.scheduler.setTenants(held, world.now);
    world.run(1000);
    assert.equal(world.sent.length, 0);
  }
  world.tenants({ a: 1 });
  assert.equal(world.scheduler.entryOf(handle)?.state, "ready");
  world.run(1000);
  assert.equal(world.sent.length, 1);
});

test("counts follow entries through their states, and lanes through theirs", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  world.site("s", { connections: 1 });
  const counts = () => {
    const { ready, waiting, suspended, inflight } = world.scheduler.counts().total;
    return [ready, waiting, suspended, inflight];
  };
  world.add({}, { receivedAt: start - 77 });
  world.add({}, { due: start + 100 });
  world.add({});
  world.add({ tenant: "c" });
  assert.deepEqual(counts(), [2, 1, 1, 0]);
  assert.equal(world.scheduler.counts().tenants.get("a")?.oldest, start - 77);
  const dispatch = world.dispatch();
  assert.deepEqual(counts(), [1, 1, 1, 1]);
  world.scheduler.suspend({ tenant: "a" }, null, world.now);
  assert.deepEqual(counts(), [0, 1, 2, 1]);
  world.end(dispatch, "neutral");
  world.scheduler.defer(dispatch.handle, start + 50, 1, world.now);
  assert.deepEqual(counts(), [0, 2, 2, 0]);
  world.run(200);
  assert.deepEqual(counts(), [0, 0, 4, 0]);
  world.scheduler.resume({ tenant: "a" }, world.now);
  world.run(1000);
  assert.deepEqual(counts(), [0, 0, 1, 0]);
  assert.deepEqual([...world.scheduler.counts().tenants.keys()], ["c"]);
});

test("mail for later has no age until its time has come, and hides none: what stands behind it in its lane is as old as it is", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 5 });
  const oldest = () => world.scheduler.counts().tenants.get("a")?.oldest;
  const sendAt = start + 7 * day;
  const later = world.add({}, { due: sendAt, sendAt, expiresAt: sendAt + day });
  assert.deepEqual([oldest(), world.scheduler.counts().total.oldest], [0, 0]);
  assert.equal(world.scheduler.counts().total.waiting, 1);
  world.now = start + 1000;
  const deferred = world.add({}, { due: start + 5000, attempt: 1 });
  assert.equal(oldest(), start + 1000);
  world.scheduler.settle(deferred);
  // Some of its recipients were bounced: it waits on as before, also in another lane.
  world.scheduler.defer(later, sendAt, 1, world.now);
  world.scheduler.relane(later, { site: "s", tenant: "a", class: "bulk" }, world.now);
  assert.equal(oldest(), 0);
  assert.deepEqual(
    world.scheduler.list({}, 5).map(({ handle }) => handle),
    [later],
  );
  assert.deepEqual(world.scheduler.handles({ tenant: "a" }), [later]);
  world.now = sendAt;
  const dispatch = world.dispatch();
  assert.equal(oldest(), sendAt);
  world.scheduler.defer(later, sendAt + 60_000, 2, world.now);
  world.end(dispatch);
  world.now = sendAt + 50_000;
  assert.equal(oldest(), sendAt, "also when it was put off");
});

test("mail for later that is let go before its time is as old as that", () => {
  const world = new World();
  world.tenants({ a: 1 });
  const later = world.add({}, { due: start + day, sendAt: start + day, expiresAt: start + 2 * day });
  world.now = start + 1000;
  world.scheduler.requeue(later, world.now);
  assert.equal(world.scheduler.counts().tenants.get("a")?.oldest, start + 1000);
});
