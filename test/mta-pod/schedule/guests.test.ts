import assert from "node:assert/strict";
import { test } from "node:test";
import { guestSite } from "#crds/wire/subject.ts";
import type { SiteLimits } from "#mta-pod/schedule/types.ts";
import { mostWithin, start, World } from "./world.ts";

const home = "mx:a.example/mx";
const guests = guestSite(home, "rest");

function worldOf(limits: SiteLimits, atHome = 0): World {
  const world = new World();
  world.tenants({ a: 1 });
  world.peer.ends = ({ lane, source }) => ({
    feedback: "good",
    connection: world.scheduler.surplus(lane.site, source) > 0 ? "closed" : "kept",
  });
  world.site(guests, limits);
  world.site(home, limits);
  for (let n = 0; n < atHome; n++) world.add({ site: home });
  return world;
}

function admit(world: World): number {
  const step = world.next();
  assert.equal(step.kind, "admit");
  return step.kind === "admit" ? step.handle : 0;
}

function leave(world: World, handle: number): void {
  world.scheduler.finish(handle, { feedback: "good", connection: "closed" }, world.now);
}

test("a guest counts against the limit of the site's own connections, and the other way round", () => {
  const world = worldOf({ connections: 2 }, 3);
  const [one, other] = [world.dispatch(), world.dispatch()];
  const handle = world.scheduler.addGuest(guests, "default", world.now);
  assert.notEqual(world.next().kind, "admit", "there are two connections");
  world.scheduler.settle(one.handle);
  world.end(one, "good", "closed");
  const admitted = admit(world);
  assert.equal(admitted, handle);
  assert.notEqual(world.next().kind, "dispatch", "the guest has the second one");
  leave(world, admitted);
  world.dispatch();
  world.end(other);
});

test("guests and a busy site take turns, by connections and by the rate", () => {
  const world = worldOf({ connections: 1, messagesPerSecond: 20 }, 500);
  const admitted: number[] = [];
  const sent: number[] = [];
  world.scheduler.addGuest(guests, "default", world.now);
  const end = start + 20_000;
  while (world.now < end) {
    const step = world.next();
    if (step.kind === "admit") {
      const turn = world.scheduler.holdBeforeMail(step.handle, world.now);
      admitted.push(world.now + turn.ms);
      world.now += turn.ms + 10;
      leave(world, step.handle);
      world.scheduler.addGuest(guests, "default", world.now);
    } else if (step.kind === "dispatch") {
      const turn = world.scheduler.holdBeforeMail(step.dispatch.handle, world.now);
      sent.push(world.now + turn.ms);
      world.now += turn.ms + 10;
      world.scheduler.finish(step.dispatch.handle, world.peer.ends(step.dispatch), world.now);
      world.scheduler.settle(step.dispatch.handle);
    } else if (step.kind === "yield") world.scheduler.connectionClosed(step.site, step.source, world.now);
    else if (step.kind === "sleep") world.now += step.ms;
  }
  assert.ok(
    mostWithin(
      [...admitted, ...sent].sort((one, other) => one - other),
      1000,
    ) <= 20,
  );
  assert.ok(admitted.length >= 15, `${admitted.length} guests in 20 seconds`);
  assert.ok(sent.length >= 200, `${sent.length} of the site's own`);
});

test("a guest that goes before it is admitted leaves nothing; one that nobody lets in is not forgotten", () => {
  const world = worldOf({ connections: 1 });
  const [first, second] = [1, 2].map(() => world.scheduler.addGuest(guests, "default", world.now));
  assert.equal(admit(world), first);
  world.scheduler.dropGuest(second ?? 0, world.now);
  const third = world.scheduler.addGuest(guests, "default", world.now);
  world.run(200_000);
  leave(world, first ?? 0);
  assert.equal(admit(world), third);
  leave(world, third);
  for (let n = 0; n < 4; n++) world.run(100_000);
  assert.equal(world.scheduler.knowsSite(guests), false, "a site at rest is forgotten");
});

test("each source has its own guests", () => {
  const world = new World(["one", "two"].map((name) => ({ name, weight: 1 })));
  world.site(guests, { connections: 1 });
  const handles = ["one", "one", "two"].map((source) => world.scheduler.addGuest(guests, source, world.now));
  assert.deepEqual(new Set([admit(world), admit(world)]), new Set([handles[0], handles[2]]));
  assert.equal(world.next().kind, "idle");
});

test("a further message on the same connection keeps the rate, and is not waited for when its turn is far", () => {
  const world = worldOf({ connections: 1, messagesPerSecond: 10 });
  const handle = world.scheduler.addGuest(guests, "default", world.now);
  admit(world);
  const times: number[] = [];
  let turn = world.scheduler.holdBeforeMail(handle, world.now);
  for (let n = 0; n < 50; n++) {
    assert.equal(turn.then, "send");
    world.now += turn.ms;
    times.push(world.now);
    world.now += 5;
    turn = world.scheduler.nextTurn(handle, world.now);
  }
  assert.ok(mostWithin(times, 1000) <= 10);
  assert.ok((times.at(-1) ?? 0) - start <= 6_000, "the rate is used");
  world.site(guests, { connections: 1, messagesPerSecond: 0.1 });
  world.site(home, { connections: 1, messagesPerSecond: 0.1 });
  assert.equal(world.scheduler.nextTurn(handle, world.now).then, "requeue");
  assert.equal(world.scheduler.nextTurn(handle + 1000, world.now).then, "requeue", "nobody knows it");
});

test("the next owner waits until what guests were promised is over", () => {
  const world = worldOf({ connections: 2, messagesPerSecond: 5 });
  const handle = world.scheduler.addGuest(guests, "default", world.now);
  admit(world);
  world.scheduler.holdBeforeMail(handle, world.now);
  world.scheduler.promise(handle, world.now + 2000);
  const told = world.scheduler.handOver(guests, world.now);
  assert.equal(told?.sources[0]?.open, 1);
  const successor = worldOf({ connections: 2, messagesPerSecond: 5 });
  assert.ok(told !== undefined);
  successor.scheduler.restore(told, successor.now + 60_000, successor.now);
  successor.scheduler.addGuest(guests, "default", successor.now);
  successor.add({ site: home });
  const step = successor.next();
  assert.equal(step.kind, "sleep");
  assert.ok(step.kind === "sleep" && step.ms >= 2900, JSON.stringify(step));
});

test("mail that waited long for its connection, and is booked ahead, has what begins later wait for it", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site(home, { connections: 9, messagesPerSecond: 1 });
  for (let n = 0; n < 5; n++) world.add({ site: home });
  const first = world.dispatch();
  world.now += 1_100;
  const second = world.dispatch();
  world.now += 5_000;
  const holds = [first, second].map(({ handle }) => world.scheduler.holdBeforeMail(handle, world.now).ms);
  assert.equal(holds[0], 0);
  assert.ok((holds[1] ?? 0) >= 1000);
  const step = world.next();
  assert.ok(
    step.kind === "sleep" && step.ms >= 2000,
    `the third begins after the second: ${JSON.stringify(step)}`,
  );
});
