import assert from "node:assert/strict";
import { test } from "node:test";
import { start, World } from "./world.ts";

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
