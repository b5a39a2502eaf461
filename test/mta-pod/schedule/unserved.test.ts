import assert from "node:assert/strict";
import { test } from "node:test";
import { start, World } from "./world.ts";

test("unserved() counts what waits for the pod alone, and not what a limit or a suspension holds back", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  assert.deepEqual(world.scheduler.unserved(world.now), { entries: 0, since: 0 });
  for (const site of ["free", "limited", "slow"]) for (let index = 0; index < 5; index++) world.add({ site });
  // Sites that are not resolved yet wait for DNS.
  assert.equal(world.scheduler.unserved(world.now).entries, 0);
  world.site("free", { connections: 10 });
  world.site("limited", { connections: 1 });
  world.site("slow", { connections: 10, messagesPerSecond: 1 });
  assert.deepEqual(world.scheduler.unserved(world.now), { entries: 15, since: start });
  world.scheduler.suspend({ tenant: "b" }, null, world.now);
  world.add({ site: "free", tenant: "b" });
  assert.equal(world.scheduler.unserved(world.now).entries, 15);
  // Of the two limited sites one leaves each; the rest of theirs waits for them.
  const taken = Array.from({ length: 5 }, () => {
    const step = world.next();
    return step.kind === "dispatch" ? step.dispatch.lane.site : step.kind;
  });
  assert.ok(taken.includes("limited") && taken.includes("slow"), taken.join(" "));
  assert.equal(
    world.scheduler.unserved(world.now).entries,
    5 - taken.filter((site) => site === "free").length,
  );
});

test("unserved() tells since when the first of them is ready: a deferral's time, not the message's age", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 10 });
  world.add({}, { receivedAt: start - 3_600_000, due: start + 5000, attempt: 1 });
  assert.equal(world.scheduler.unserved(world.now).entries, 0);
  world.now += 6000;
  world.add({});
  assert.equal(world.next().kind, "dispatch");
  const { since } = world.scheduler.unserved(world.now);
  assert.ok(since === start + 5000 || since === start + 6000, String(since - start));
});

test("a site that its pod has enough of waits for the pod: others go on, it goes on later, and unserved() counts it", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("crowded", { connections: 10 });
  world.add({ site: "crowded" });
  world.scheduler.setSite("crowded", { crowdedUntil: world.now + 100 }, world.now);
  assert.deepEqual(world.next(), { kind: "sleep", ms: 100 });
  assert.equal(world.scheduler.siteState("crowded").binding, "crowded");
  assert.equal(world.scheduler.unserved(world.now).entries, 1);
  world.site("other", { connections: 10 });
  world.add({ site: "other" });
  const step = world.next();
  assert.equal(step.kind === "dispatch" && step.dispatch.lane.site, "other");
  world.now += 100;
  const later = world.next();
  assert.equal(later.kind === "dispatch" && later.dispatch.lane.site, "crowded");
});

test("a crowded site that is at its own limit as well is held by that", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { connections: 1 });
  world.add({ site: "s" });
  world.add({ site: "s" });
  assert.equal(world.next().kind, "dispatch");
  world.scheduler.setSite("s", { crowdedUntil: world.now + 100 }, world.now);
  assert.equal(world.scheduler.siteState("s").binding, "connections");
  assert.equal(world.scheduler.unserved(world.now).entries, 0);
});
