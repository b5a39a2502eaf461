/** Limits per tenant and per sender domain at a site: exact for each, and nobody else waits for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mostWithin, World } from "./world.ts";

const wide = { connections: 100 };

function busyWorld(limits: Parameters<World["site"]>[1], tenants: readonly string[], each = 500): World {
  const world = new World();
  world.tenants(Object.fromEntries(tenants.map((tenant) => [tenant, 1])));
  world.site("s", limits);
  for (const tenant of tenants) for (let index = 0; index < each; index++) world.add({ tenant });
  return world;
}

function timesOf(world: World, tenant: string): number[] {
  return world.sent.flatMap(({ at, dispatch }) => (dispatch.lane.tenant === tenant ? [at] : []));
}

test("each tenant keeps its rate at the site in every second, and uses it", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 10 } }, ["a", "b", "c"]);
  world.run(10_000);
  for (const tenant of ["a", "b", "c"]) {
    const times = timesOf(world, tenant);
    assert.ok(mostWithin(times, 1000) <= 10, `${mostWithin(times, 1000)} of ${tenant} in a second`);
    assert.ok(times.length >= 95, `${times.length} of ${tenant} in ten seconds`);
  }
});

test("both classes of a tenant share its rate, and its connections", () => {
  const world = busyWorld({ ...wide, perTenant: { connections: 2, messagesPerSecond: 20 } }, ["a"], 200);
  for (let index = 0; index < 200; index++) world.add({ tenant: "a", class: "bulk" });
  world.peer.takes = () => 95;
  let most = 0;
  world.peer.ends = () => {
    most = Math.max(most, world.scheduler.siteState("s").busy);
    return { feedback: "good", connection: "kept" };
  };
  world.run(5000);
  const times = timesOf(world, "a");
  assert.ok(mostWithin(times, 1000) <= 20);
  assert.ok(times.length >= 94, `${times.length} in five seconds`);
  assert.equal(most, 2);
  const bulk = world.sent.filter(({ dispatch }) => dispatch.lane.class === "bulk").length;
  assert.ok(bulk >= times.length / 12, `${bulk} of bulk`);
});

test("tenants' connections hold over all sources, and the others use the rest of the site's", () => {
  const world = new World([
    { name: "x", weight: 1 },
    { name: "y", weight: 1 },
  ]);
  world.tenants({ a: 1, b: 1 });
  world.site("s", { connections: 3, perTenant: { connections: 2 } });
  for (let index = 0; index < 10; index++) world.add({ tenant: "a" });
  const first = world.dispatch();
  world.dispatch();
  assert.equal(world.next().kind, "sleep", "a has its two");
  assert.equal(world.scheduler.siteState("s").binding, "perTenant.connections");
  for (let index = 0; index < 10; index++) world.add({ tenant: "b" });
  assert.equal(world.dispatch().lane.tenant, "b");
  assert.equal(world.dispatch().lane.tenant, "b");
  assert.equal(world.next().kind, "sleep");
  world.done(first);
  assert.equal(world.dispatch().lane.tenant, "a");
});

test("a tenant that is held back holds up nobody, keeps no turns for later, and costs one wake a message", () => {
  const world = busyWorld(
    { ...wide, messagesPerSecond: 100, perTenant: { messagesPerSecond: 30 } },
    ["a"],
    5000,
  );
  world.tenants({ a: 100, b: 1, c: 1 });
  for (const tenant of ["b", "c"]) for (let index = 0; index < 1000; index++) world.add({ tenant });
  world.run(10_000);
  const [a, b, c] = ["a", "b", "c"].map((tenant) => timesOf(world, tenant).length);
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  assert.ok(a >= 285 && a <= 300, `${a} of a`);
  assert.ok(Math.abs(b - c) <= 2 && b >= 280, `${b} and ${c} of the others`);
  const alone = busyWorld({ ...wide, perTenant: { messagesPerSecond: 10 } }, ["a"]);
  alone.run(10_000);
  assert.ok(alone.wakes <= alone.sent.length + 2, `${alone.wakes} wakes for ${alone.sent.length} messages`);
});

test("a newcomer goes at once where thousands of a tenant are held back", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 / 60 } }, ["a"], 5000);
  world.tenants({ a: 100, b: 1 });
  world.run(1000);
  assert.equal(world.sent.length, 1);
  world.add({ tenant: "b" });
  assert.equal(world.dispatch().lane.tenant, "b");
  const asleep = world.next();
  assert.ok(asleep.kind === "sleep" && asleep.ms > 55_000);
  assert.equal(world.scheduler.unserved(world.now).entries, 0, "no pod more would send them sooner");
});

test("held mail still expires in time", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 / 3600 } }, ["a"], 1);
  world.add({ tenant: "a" }, { expiresAt: world.now + 5000 });
  world.run(10_000);
  assert.deepEqual([world.sent.length, world.expired.length], [1, 1]);
  assert.equal(world.scheduler.siteState("s").binding, null);
});

test("sender domains keep their rate each, and share the turns of their tenant", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  world.site("s", { ...wide, messagesPerSecond: 40, perSenderDomain: { messagesPerSecond: 10 } });
  const domains = Array.from({ length: 10 }, (_, index) => `d${index}.example`);
  for (let index = 0; index < 100; index++) {
    for (const senderDomain of domains) world.add({ tenant: "a", senderDomain });
    for (let more = 0; more < 3; more++) world.add({ tenant: "b", senderDomain: `e${more}.example` });
  }
  world.run(5000);
  const all = new Map<string, number[]>();
  for (const { at, dispatch } of world.sent) {
    const domain = dispatch.lane.senderDomain ?? assert.fail();
    all.set(domain, [...(all.get(domain) ?? []), at]);
  }
  for (const [domain, times] of all) assert.ok(mostWithin(times, 1000) <= 10, domain);
  const [a, b] = [timesOf(world, "a").length, timesOf(world, "b").length];
  assert.ok(Math.abs(a - b) <= 3, `${a} of ten domains, ${b} of three: one share each`);
  const ofA = domains.map((domain) => all.get(domain)?.length ?? 0);
  assert.ok(Math.max(...ofA) - Math.min(...ofA) <= 1, ofA.join(" "));
});

test("a domain has one rate, whichever class its mail is of; mail from nobody has its tenant's own", () => {
  const world = new World();
  world.tenants({ a: 1, b: 1 });
  world.site("s", { ...wide, perSenderDomain: { messagesPerSecond: 5 } });
  for (let index = 0; index < 100; index++)
    for (const tenant of ["a", "b"])
      for (const priority of ["transactional", "bulk"] as const) {
        world.add({ tenant, class: priority, senderDomain: `${tenant}.example` });
        world.add({ tenant, class: priority, senderDomain: "" });
      }
  world.run(4000);
  for (const tenant of ["a", "b"])
    for (const senderDomain of [`${tenant}.example`, ""]) {
      const times = world.sent.flatMap(({ at, dispatch: { lane } }) =>
        lane.tenant === tenant && lane.senderDomain === senderDomain ? [at] : [],
      );
      assert.ok(mostWithin(times, 1000) <= 5, `${tenant} ${senderDomain}`);
      assert.ok(times.length >= 19, `${times.length} of ${tenant} "${senderDomain}"`);
    }
});

test("mail whose sender is not told takes turns with the sender domains of its tenant", () => {
  const world = new World();
  world.tenants({ a: 1 });
  world.site("s", { ...wide, perSenderDomain: { messagesPerSecond: 1000 } });
  for (let index = 0; index < 10; index++) {
    world.add({});
    world.add({ senderDomain: "d.example" });
  }
  const taken = Array.from({ length: 4 }, () => world.dispatch().lane.senderDomain ?? "untold");
  assert.deepEqual(taken, ["untold", "d.example", "untold", "d.example"]);
  assert.equal(world.scheduler.count({ site: "s", tenant: "a" }), 20);
  assert.equal(world.scheduler.list({ tenant: "a" }, 100).length, 20);
  assert.equal(world.scheduler.siteState("s").queued, 20);
});

test("limits that come count what is under way; limits that go, or rise, let the held go on at once", () => {
  const world = busyWorld(wide, ["a"], 50);
  const flights = [world.dispatch(), world.dispatch(), world.dispatch()];
  world.site("s", { ...wide, perTenant: { connections: 2 } });
  assert.equal(world.next().kind, "sleep");
  for (const dispatch of flights.slice(0, 2)) {
    world.done(dispatch);
    assert.equal(world.scheduler.siteState("s").busy <= 2, true);
  }
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  world.site("s", { ...wide, perTenant: { connections: 3 } });
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  world.site("s", { ...wide, perTenant: { messagesPerSecond: 1 } });
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  world.site("s", wide);
  world.dispatch();
  world.site("s", { ...wide, perTenant: { messagesPerSecond: 1 } });
  assert.equal(world.next().kind, "sleep", "what was spent is not forgotten with the limit");
});

test("why mail waits: the tenant's limit for its tenant, nothing for the others", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 } }, ["a"], 5);
  world.site("t", { connections: 1 });
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  const bindingOf = (tenant: string) => world.scheduler.bindingOf({ site: "s", tenant });
  assert.deepEqual([bindingOf("a"), bindingOf("b")], ["perTenant.messageRate", null]);
  assert.equal(world.scheduler.siteState("s").binding, "perTenant.messageRate");
  assert.equal(world.scheduler.bindingOf({ site: "nowhere", tenant: "a" }), "unresolved");
  const other = new World();
  other.tenants({ a: 1 });
  other.site("s", { ...wide, perSenderDomain: { messagesPerSecond: 1 } });
  for (const senderDomain of ["d.example", "d.example", "e.example"]) other.add({ senderDomain });
  other.dispatch();
  other.dispatch();
  assert.equal(other.next().kind, "sleep");
  const domainHeld = (senderDomain: string) =>
    other.scheduler.bindingOf({ site: "s", tenant: "a", senderDomain });
  assert.deepEqual([domainHeld("d.example"), domainHeld("e.example")], ["perSenderDomain.messageRate", null]);
});

test("the time that tenants' limits held mail back is told, once for all tenants, also when it leaves otherwise", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 / 60 } }, ["a", "b"], 2);
  world.run(1000);
  world.now += 4000;
  world.next();
  for (const { handle } of world.scheduler.list({}, 10)) world.scheduler.settle(handle);
  const [held, ...others] = world.scheduler.takeHeldTimes();
  assert.deepEqual([held?.site, held?.binding, others], ["s", "perTenant.messageRate", []]);
  assert.equal(held?.ms, 5000);
  assert.equal(world.scheduler.siteState("s").binding, null);
});

test("a suspended tenant's held mail stays where it is, and goes on by the same rate when resumed", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 } }, ["a"], 5);
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  world.scheduler.suspend({ tenant: "a" }, null, world.now);
  assert.equal(world.scheduler.siteState("s").binding, "suspended");
  world.scheduler.resume({ tenant: "a" }, world.now);
  assert.equal(world.next().kind, "sleep");
  world.now += 1031;
  world.dispatch();
});

test("budgets and lanes by sender domain are forgotten, but no spent rate is", () => {
  const world = new World();
  world.tenants({ a: 1 });
  const limits = {
    ...wide,
    perTenant: { messagesPerSecond: 1 / 3600 },
    perSenderDomain: { messagesPerSecond: 1 / 3600 },
  };
  world.site("s", limits);
  for (let index = 0; index < 3; index++) world.add({ senderDomain: "d.example" });
  world.done(world.dispatch());
  world.scheduler.connectionClosed("s", "default", world.now);
  for (const { handle } of world.scheduler.list({}, 10)) world.scheduler.settle(handle);
  for (let minute = 0; minute < 10; minute++) {
    world.now += 60_000;
    world.next();
  }
  assert.equal(world.scheduler.knowsSite("s"), true);
  world.add({ senderDomain: "d.example" });
  assert.equal(world.next().kind, "sleep");
  for (const { handle } of world.scheduler.list({}, 10)) world.scheduler.settle(handle);
  for (let minute = 0; minute < 70; minute++) {
    world.now += 60_000;
    world.next();
  }
  assert.equal(world.scheduler.knowsSite("s"), false, "at rest it is forgotten");
});

test("a MAIL whose tenant's turn is later waits on its connection, or gives it back when that is long", () => {
  const world = busyWorld({ ...wide, perTenant: { messagesPerSecond: 10 } }, ["a"], 3);
  const first = world.dispatch();
  world.now += 104;
  const second = world.dispatch();
  world.now += 100;
  assert.deepEqual(world.scheduler.holdBeforeMail(first.handle, world.now), { then: "send", ms: 0 });
  const turn = world.scheduler.holdBeforeMail(second.handle, world.now);
  assert.equal(turn.then, "ask");
  world.now += turn.ms;
  assert.deepEqual(world.scheduler.holdBeforeMail(second.handle, world.now), { then: "send", ms: 0 });
  const slow = busyWorld({ ...wide, perTenant: { messagesPerSecond: 1 } }, ["a"], 3);
  const early = slow.dispatch();
  slow.now += 1031;
  const late = slow.dispatch();
  slow.scheduler.holdBeforeMail(early.handle, slow.now);
  assert.equal(slow.scheduler.holdBeforeMail(late.handle, slow.now).then, "requeue");
  slow.scheduler.requeue(late.handle, slow.now);
  slow.end(late, "neutral");
  assert.deepEqual(slow.next(), { kind: "sleep", ms: 1031 });
  slow.now += 1031;
  assert.equal(slow.dispatch().handle, late.handle, "it is the first of its lane again");
});

test("a dispatch that ends unspent gives its turn back, one that booked its MAIL does not", () => {
  const world = busyWorld(
    { connections: 3, messagesPerSecond: 10, perTenant: { messagesPerSecond: 1 } },
    ["a"],
    3,
  );
  const first = world.dispatch();
  world.scheduler.requeue(first.handle, world.now);
  world.scheduler.finish(
    first.handle,
    { feedback: "neutral", connection: "closed", isUnspent: true },
    world.now,
  );
  const again = world.dispatch();
  assert.equal(again.handle, first.handle);
  world.scheduler.holdBeforeMail(again.handle, world.now);
  world.scheduler.requeue(again.handle, world.now);
  world.scheduler.finish(
    again.handle,
    { feedback: "neutral", connection: "kept", isUnspent: true },
    world.now,
  );
  assert.deepEqual(world.next(), { kind: "sleep", ms: 104 });
  world.now += 104;
  assert.deepEqual(world.next(), { kind: "sleep", ms: 927 });
});

test("a rate that is not above 0 is refused at once", () => {
  const world = new World();
  for (const kind of ["perTenant", "perSenderDomain"])
    assert.throws(() => world.site("s", { ...wide, [kind]: { messagesPerSecond: 0 } }), RangeError);
});
