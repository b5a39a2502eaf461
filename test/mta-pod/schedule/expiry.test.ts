import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { day, start, World } from "./world.ts";

test("a ready entry that may not leave expires in its time, whatever holds it", () => {
  const blocks: Record<string, (world: World) => void> = {
    "unresolved site": () => {},
    "held tenant": (world) => {
      world.site("s", { connections: 1 });
      world.scheduler.setTenants(new Map([["a", { weight: 1, held: true }]]), world.now);
    },
    "unknown tenant": (world) => {
      world.site("s", { connections: 1 });
      world.tenants({ b: 1 });
    },
    "suspended site": (world) => {
      world.site("s", { connections: 1 });
      world.scheduler.suspend({ site: "s" }, null, world.now);
    },
    backoff: (world) => {
      world.site("s", { connections: 1 });
      world.add({}, { expiresAt: start + day });
      const dispatch = world.dispatch();
      world.end(dispatch, "unreachable", "closed");
      world.scheduler.settle(dispatch.handle);
    },
  };
  for (const [name, block] of Object.entries(blocks)) {
    const world = new World();
    world.tenants({ a: 1 });
    block(world);
    const handle = world.add({}, { expiresAt: start + 2000 });
    world.run(1999);
    assert.equal(world.expired.length, 0, name);
    world.run(1);
    assert.deepEqual(
      world.expired.map((expiry) => [expiry.at, expiry.handle]),
      [[start + 2000, handle]],
      name,
    );
    assert.equal(world.next().kind, "idle", name);
  }
});

test("an expired entry is never dispatched", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 10 });
  world.add({}, { expiresAt: start });
  world.run(0);
  assert.equal(world.sent.length, 0);
  assert.equal(world.expired.length, 1);
});

test("a waiting entry expires when its time is over, before it is due", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 10 });
  world.add({}, { due: start + 9000, expiresAt: start + 5000 });
  world.run(20_000);
  assert.deepEqual(
    world.expired.map(({ at }) => at),
    [start + 5000],
  );
  assert.equal(world.sent.length, 0);
});

test("an expiry that could not be settled comes again when it was deferred to", () => {
  const world = new World();
  const handle = world.add({}, { expiresAt: start });
  const step = world.next();
  assert.equal(step.kind, "expire");
  world.scheduler.defer(handle, start + 2000, 0, world.now);
  assert.deepEqual(world.next(), { kind: "sleep", ms: 2000 });
  world.now += 2000;
  assert.equal(world.next().kind, "expire");
  assert.equal(world.next().kind, "idle");
});

test("a wave of expiries does not hold up dispatches, nor the reverse", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  world.site("s", { connections: 1000 });
  world.scheduler.suspend({ site: "dead" }, null, world.now);
  for (let index = 0; index < 100; index++) {
    world.add({ site: "dead" }, { expiresAt: start });
    world.add({ site: "s" });
    const dispatch = world.next();
    const other = world.next();
    assert.deepEqual([dispatch.kind, other.kind].sort(), ["dispatch", "expire"]);
    if (other.kind === "dispatch") world.done(other.dispatch);
    if (dispatch.kind === "dispatch") world.done(dispatch.dispatch);
  }
});

test("in a blocked lane of mixed lifetimes each entry expires at its own time", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 40 }), (lifetimes) => {
      const world = new World();
      for (const lifetime of lifetimes) world.add({}, { expiresAt: start + lifetime });
      world.run(1000);
      assert.deepEqual(
        world.expired.map(({ at }) => at - start),
        lifetimes.toSorted((one, other) => one - other),
      );
      for (const { at, entry } of world.expired) assert.equal(at, entry.expiresAt);
    }),
  );
});

test("an entry that was put back before others does not delay their expiry", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({}, { expiresAt: start + 9000 });
  const dispatch = world.dispatch();
  world.add({}, { expiresAt: start + 1000 });
  world.end(dispatch, "unreachable", "closed");
  world.scheduler.requeue(dispatch.handle, world.now);
  world.scheduler.suspend({}, null, world.now);
  world.run(10_000);
  assert.deepEqual(
    world.expired.map(({ at }) => at - start),
    [1000, 9000],
  );
});

test("an entry from another lane, put back before others, does not delay their expiry", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({}, { expiresAt: start + 9000 });
  const dispatch = world.dispatch();
  world.add({ site: "t" }, { expiresAt: start + 1000 });
  world.add({ site: "t" }, { expiresAt: start + 2000 });
  world.scheduler.relane(dispatch.handle, { ...dispatch.lane, site: "t" }, world.now);
  world.end(dispatch, "neutral");
  world.scheduler.requeue(dispatch.handle, world.now);
  world.run(10_000);
  assert.deepEqual(
    world.expired.map(({ at }) => at - start),
    [1000, 2000, 9000],
  );
});

test("an entry that expired in flight and is put back behind another expires at once", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 2 });
  world.add({}, { expiresAt: start + 9000 });
  world.add({}, { expiresAt: start + 1000 });
  const [late, early] = [world.dispatch(), world.dispatch()];
  world.scheduler.suspend({}, null, world.now);
  world.now += 1500;
  assert.equal(world.next().kind, "idle");
  for (const dispatch of [early, late]) {
    world.end(dispatch, "neutral");
    world.scheduler.requeue(dispatch.handle, world.now);
  }
  world.run(100);
  assert.deepEqual(
    world.expired.map(({ handle }) => handle),
    [early.handle],
  );
});
