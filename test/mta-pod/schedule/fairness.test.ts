import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./world.ts";

const wide = { connections: 1000 };

function shares(world: World, dispatches: number, by: (of: { tenant: string; class: string }) => string) {
  const counts: Record<string, number> = {};
  for (let index = 0; index < dispatches; index++) {
    const dispatch = world.dispatch();
    counts[by(dispatch.lane)] = (counts[by(dispatch.lane)] ?? 0) + 1;
    world.done(dispatch);
  }
  return counts;
}

test("one mail of B leaves within two dispatches of its site, with 100,000 of A before it", () => {
  for (const weight of [1, 100]) {
    const world = new World();
    world.site("s", wide);
    world.tenants({ a: weight, b: 1 });
    for (let index = 0; index < 100_000; index++) world.add({ tenant: "a" });
    shares(world, 7, ({ tenant }) => tenant);
    world.add({ tenant: "b" });
    assert.equal(shares(world, 2, ({ tenant }) => tenant)["b"], 1);
  }
});

test("tenants share a site by weight", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 1, b: 3, c: 6 });
  for (let index = 0; index < 1000; index++) for (const tenant of ["a", "b", "c"]) world.add({ tenant });
  assert.deepEqual(
    shares(world, 500, ({ tenant }) => tenant),
    { a: 50, b: 150, c: 300 },
  );
});

test("sending one mail at a time buys no larger share", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 9, b: 1 });
  for (let index = 0; index < 2000; index++) world.add({ tenant: "a" });
  let ofB = 0;
  world.add({ tenant: "b" });
  for (let index = 0; index < 1000; index++) {
    const dispatch = world.dispatch();
    world.done(dispatch);
    if (dispatch.lane.tenant !== "b") continue;
    ofB++;
    world.add({ tenant: "b" });
  }
  assert.ok(ofB >= 99 && ofB <= 101, `${ofB} of 1000`);
});

test("a weight that changes holds from the next round on", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 1, b: 1 });
  for (let index = 0; index < 1000; index++) for (const tenant of ["a", "b"]) world.add({ tenant });
  shares(world, 10, ({ tenant }) => tenant);
  world.tenants({ a: 3, b: 1 });
  shares(world, 2, ({ tenant }) => tenant);
  assert.deepEqual(
    shares(world, 400, ({ tenant }) => tenant),
    { a: 300, b: 100 },
  );
});

test("transactional mail goes first, and bulk keeps one dispatch in ten", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 1, b: 1 });
  for (let index = 0; index < 1000; index++) {
    world.add({ tenant: "a", class: "bulk" });
    world.add({ tenant: "b", class: "transactional" });
  }
  assert.deepEqual(
    shares(world, 500, (lane) => lane.class),
    { bulk: 50, transactional: 450 },
  );
});

test("bulk alone has the whole site", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 1 });
  for (let index = 0; index < 50; index++) world.add({ class: "bulk" });
  assert.deepEqual(
    shares(world, 50, (lane) => lane.class),
    { bulk: 50 },
  );
});

test("a transactional mail passes a bulk backlog at once", () => {
  const world = new World();
  world.site("s", wide);
  world.tenants({ a: 1 });
  for (let index = 0; index < 100; index++) world.add({ class: "bulk" });
  shares(world, 50, (lane) => lane.class);
  world.add({ class: "transactional" });
  assert.deepEqual(
    shares(world, 1, (lane) => lane.class),
    { transactional: 1 },
  );
});

test("sites take turns, and one that is full holds up no other", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("slow", { connections: 1 });
  world.site("fast", { connections: 2 });
  world.peer.takes = ({ lane }) => (lane.site === "slow" ? 60_000 : 10);
  for (let index = 0; index < 100; index++) world.add({ site: "slow" });
  for (let index = 0; index < 100; index++) world.add({ site: "fast" });
  world.run(1000);
  const slow = world.sent.filter(({ dispatch }) => dispatch.lane.site === "slow").length;
  assert.deepEqual([slow, world.sent.length - slow], [1, 100]);
});

test("an entry of a lane leaves in the order of arrival, a requeued one first, a deferred one last", () => {
  const world = new World();
  world.site("s", { connections: 1 });
  world.tenants({ a: 1 });
  const [first, second, third] = [world.add({}), world.add({}), world.add({})];
  const one = world.dispatch();
  assert.equal(one.handle, first);
  world.end(one, "neutral");
  world.scheduler.requeue(one.handle, world.now);
  const again = world.dispatch();
  assert.equal(again.handle, first);
  assert.equal(again.entry.attempt, 0);
  world.end(again, "neutral");
  world.scheduler.defer(again.handle, world.now + 5, 1, world.now);
  const two = world.dispatch();
  assert.equal(two.handle, second);
  world.now += 5;
  world.done(two);
  const three = world.dispatch();
  assert.equal(three.handle, third);
  world.done(three);
  const last = world.dispatch();
  assert.equal(last.handle, first);
  assert.equal(last.entry.attempt, 1);
});

test("sources share a site by weight, and one that is full gives way", () => {
  const world = new World([
    { name: "x", weight: 1 },
    { name: "y", weight: 3 },
  ]);
  world.site("s", { connections: 1000 });
  world.tenants({ a: 1 });
  for (let index = 0; index < 600; index++) world.add({});
  const of: Record<string, number> = {};
  for (let index = 0; index < 400; index++) {
    const dispatch = world.dispatch();
    of[dispatch.source] = (of[dispatch.source] ?? 0) + 1;
    world.done(dispatch);
  }
  assert.deepEqual(of, { x: 100, y: 300 });
  world.site("s", { connections: 1 });
  const both = [world.dispatch().source, world.dispatch().source].sort();
  assert.deepEqual(both, ["x", "y"]);
  assert.equal(world.next().kind, "sleep");
});
