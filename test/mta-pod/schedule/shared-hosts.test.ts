import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteLimits, Step } from "#mta-pod/schedule/types.ts";
import { mostWithin, start, World } from "./world.ts";

/** Mail of two rules to the hosts of one relay. */
const relay = "relay:25";
const vip = "relay:25+vip";

function sharing(
  limits: Readonly<Record<string, SiteLimits>>,
  entries: Readonly<Record<string, number>>,
): World {
  const world = new World();
  world.tenants({ a: 1 });
  // As a pod does: what is too much is not kept.
  world.peer.ends = ({ lane, source }) => ({
    feedback: "good",
    connection: world.scheduler.surplus(lane.site, source) > 0 ? "closed" : "kept",
  });
  for (const [site, of] of Object.entries(limits)) world.site(site, of);
  for (const [site, count] of Object.entries(entries)) for (let n = 0; n < count; n++) world.add({ site });
  return world;
}

/** When messages were sent to either, and the most connections that were open at once, each dispatch on one of its own. */
function timesOf(world: World, site?: string): number[] {
  return world.sent
    .filter(({ dispatch }) => site === undefined || dispatch.lane.site === site)
    .map(({ at }) => at);
}

function openOf(world: World): number[] {
  return [relay, vip].map((site) => world.scheduler.siteState(site).open);
}

test("sites that share their hosts have no more connections together than the larger limit, each no more than its own", () => {
  const world = sharing({ [relay]: { connections: 3 }, [vip]: { connections: 2 } }, { [relay]: 5, [vip]: 5 });
  const began = [1, 2, 3].map(() => world.dispatch());
  assert.equal(world.next().kind, "sleep");
  assert.deepEqual(
    openOf(world).toSorted((one, other) => one - other),
    [1, 2],
  );
  assert.equal(world.scheduler.siteState(vip).binding, "connections");
  const first = began.find(({ lane }) => lane.site === relay);
  assert.ok(first !== undefined);
  world.scheduler.settle(first.handle);
  world.end(first, "good", "closed");
  world.dispatch();
  assert.deepEqual(
    openOf(world).toSorted((one, other) => one - other),
    [1, 2],
  );
});

test("the rate of both together is the larger one's, and both have their share of it", () => {
  const limits = { connections: 5, messagesPerSecond: 20 };
  const world = sharing(
    { [relay]: limits, [vip]: { ...limits, messagesPerSecond: 8 } },
    { [relay]: 400, [vip]: 400 },
  );
  world.run(10_000);
  assert.ok(mostWithin(timesOf(world), 1000) <= 20);
  assert.ok(mostWithin(timesOf(world, vip), 1000) <= 8);
  assert.ok(timesOf(world).length >= 190, `${timesOf(world).length} in ten seconds`);
  assert.ok(timesOf(world, vip).length >= 45, `${timesOf(world, vip).length} of the smaller one`);
});

test("of three that are bound by the rate of all each gets a third, also when there is one connection only", () => {
  for (const connections of [5, 1]) {
    const sites = [relay, vip, "relay:25+rest"];
    const limits = { connections, messagesPerSecond: 20 };
    const world = sharing({ [relay]: limits }, { [relay]: 800 });
    world.run(3_000);
    const from = world.now;
    for (const site of sites.slice(1)) {
      world.site(site, limits);
      for (let n = 0; n < 800; n++) world.add({ site });
    }
    world.run(30_000);
    const times = sites.map((site) => timesOf(world, site).filter((at) => at >= from));
    const [least, most] = [Math.min, Math.max].map((of) => of(...times.map(({ length }) => length)));
    assert.ok(mostWithin(timesOf(world), 1000) <= 20);
    assert.ok(least !== undefined && least >= 120, `${connections}: ${times.map(({ length }) => length)}`);
    assert.ok(most !== undefined && most <= 260, `${times.map(({ length }) => length)}`);
  }
});

test("of two with the same rate each gets half", () => {
  const limits = { connections: 5, messagesPerSecond: 20 };
  const world = sharing({ [relay]: limits, [vip]: limits }, { [relay]: 400, [vip]: 400 });
  world.run(10_000);
  assert.ok(mostWithin(timesOf(world), 1000) <= 20);
  const [all, half] = [timesOf(world).length, timesOf(world, vip).length];
  assert.ok(all >= 190 && Math.abs(half - all / 2) <= 5, `${half} of ${all}`);
});

test("one without a rate leaves the other its own", () => {
  const world = sharing(
    { [relay]: { connections: 2 }, [vip]: { connections: 1, messagesPerSecond: 5 } },
    { [relay]: 2000, [vip]: 400 },
  );
  world.run(10_000);
  assert.ok(mostWithin(timesOf(world, vip), 1000) <= 5);
  assert.ok(timesOf(world, vip).length >= 45);
  assert.ok(timesOf(world, relay).length >= 400);
});

test("an idle connection is closed for one that has none", () => {
  const world = sharing({ [relay]: { connections: 1 }, [vip]: { connections: 1 } }, { [relay]: 1 });
  world.run(100);
  assert.deepEqual(openOf(world), [1, 0]);
  world.add({ site: vip });
  world.run(100);
  assert.deepEqual(
    world.yielded.map(({ site }) => site),
    [relay],
  );
  assert.equal(timesOf(world, vip).length, 1);
});

test("a busy one gives a connection to one that has none: after a moment its last, of several at once", () => {
  for (const [connections, mostMs] of [
    [1, 1100],
    [3, 100],
  ] as const) {
    const world = sharing({ [relay]: { connections }, [vip]: { connections } }, { [relay]: 5000 });
    world.run(1000);
    assert.deepEqual(openOf(world), [connections, 0]);
    for (let n = 0; n < 3000; n++) world.add({ site: vip });
    const from = world.now;
    world.run(10_000);
    const [first = Infinity] = timesOf(world, vip);
    assert.ok(first - from <= mostMs, `${first - from} ms`);
    const [one, other] = [relay, vip].map((site) => timesOf(world, site).filter((at) => at > from).length);
    assert.ok(one !== undefined && other !== undefined);
    assert.ok(Math.min(one, other) >= (one + other) / 3.1, `${one} and ${other}`);
    assert.ok(one + other >= 900 * connections, `${one + other} of ${1000 * connections}`);
  }
});

test("whose mail is gone, or suspended, waits for no connection", () => {
  for (const how of ["settled", "suspended"]) {
    const world = sharing({ [relay]: { connections: 2 }, [vip]: { connections: 2 } }, { [relay]: 100 });
    world.dispatch();
    world.dispatch();
    const waiting = world.add({ site: vip });
    world.next();
    assert.equal(world.scheduler.surplus(relay, "default"), 1);
    if (how === "settled") world.scheduler.settle(waiting);
    else world.scheduler.suspend({ site: vip }, null, world.now);
    assert.equal(world.scheduler.surplus(relay, "default"), 0, how);
  }
});

test("connections of a former owner count for both, until it says that they are closed", () => {
  const world = sharing({ [relay]: { connections: 2 }, [vip]: { connections: 2 } }, { [vip]: 5 });
  const spent = { source: "default", pausedUntil: 0, nextMessageAt: 0, nextConnectionAt: 0 };
  const handover = { site: relay, backoffUntil: 0, sources: [{ ...spent, open: 1 }] };
  world.scheduler.restore(handover, start + 60_000, world.now);
  world.dispatch();
  const asleep = world.next();
  assert.ok(asleep.kind === "sleep" && asleep.ms <= 60_000);
  world.scheduler.forgetFormer(relay, world.now);
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
});

test("what the owner before sent at one counts at the other, for the other's interval, also when its rate is not known yet", () => {
  const slow = { connections: 5, messagesPerSecond: 1 / 60 };
  for (const isKnown of [true, false]) {
    const world = sharing({ [relay]: { connections: 5, messagesPerSecond: 5 } }, { [relay]: 3, [vip]: 1 });
    if (isKnown) world.site(vip, slow);
    const spent = { source: "default", open: 0, pausedUntil: 0, nextConnectionAt: 0 };
    // Sent just now: it would go on after its interval.
    const handover = { site: vip, backoffUntil: 0, sources: [{ ...spent, nextMessageAt: start + 61_856 }] };
    world.scheduler.restore(handover, start, world.now);
    world.run(10_000);
    if (!isKnown) world.site(vip, slow);
    world.run(190_000);
    const [first = 0] = timesOf(world, relay);
    assert.ok(first - start >= 200 && first - start <= 400, `${first - start} ms`);
    assert.ok((timesOf(world, vip)[0] ?? 0) >= start + 61_856);
  }
});

test("one that is met while the other sends begins as if it had sent itself", () => {
  const limits = { connections: 5, messagesPerSecond: 5 };
  const world = sharing({ [relay]: limits }, { [relay]: 100 });
  world.run(3000);
  world.site(vip, limits);
  for (let n = 0; n < 100; n++) world.add({ site: vip });
  world.run(3000);
  assert.ok(mostWithin(timesOf(world), 1000) <= 5);
});

test("at the peer, where connecting took its time, the rate of both holds as well", () => {
  const limits = { connections: 10, messagesPerSecond: 20 };
  const world = sharing({ [relay]: limits, [vip]: limits }, { [relay]: 300, [vip]: 300 });
  let turn = 0;
  world.peer.reaches = () => (++turn * 37) % 400;
  world.peer.takes = () => 20 + ((turn * 53) % 150);
  world.run(10_000);
  const counted = world.mailed.map((one) => one.counted).toSorted((one, other) => one - other);
  assert.ok(mostWithin(counted, 1000) <= 20, `${mostWithin(counted, 1000)} in a second`);
  assert.ok(counted.length >= 120, `${counted.length} in ten seconds`);
});

test("a site whose neighbour is forgotten has its limits for itself", () => {
  const world = sharing({ [relay]: { connections: 2 }, [vip]: { connections: 2 } }, { [relay]: 1, [vip]: 1 });
  world.peer.ends = () => ({ feedback: "good", connection: "closed" });
  world.run(1000);
  for (let minute = 0; minute < 10; minute++) {
    world.next();
    world.now += 61_000;
  }
  assert.equal(world.scheduler.knowsSite(vip), false);
  world.site(relay, { connections: 2 });
  for (let n = 0; n < 2; n++) world.add({ site: relay });
  world.dispatch();
  world.dispatch();
});

test("slices share with nobody", () => {
  const world = sharing({ "relay:25~1": { connections: 1 }, "relay:25+vip~1": { connections: 1 } }, {});
  for (const site of ["relay:25~1", "relay:25+vip~1"]) world.add({ site });
  world.dispatch();
  world.dispatch();
});

const hostsOf = {
  some: "mx:p.example/a,b",
  one: "mx:p.example/c",
  bridge: "mx:p.example/b,c",
  apart: "mx:p.example/d",
};

test("lists of MX hosts that have some in common keep their limits together, also by way of a third list", () => {
  const { some, one, bridge, apart } = hostsOf;
  const limits = { connections: 2 };
  const world = sharing(
    { [some]: limits, [one]: limits, [apart]: limits },
    { [some]: 1, [one]: 1, [apart]: 2 },
  );
  const [first] = Array.from({ length: 4 }, () => world.dispatch()).filter(({ lane }) => lane.site === one);
  world.site(bridge, limits);
  for (const site of [some, one, bridge]) world.add({ site });
  assert.notEqual(world.next().kind, "dispatch", "two of two are open at a, b and c");
  for (const site of [some, one, bridge])
    assert.equal(world.scheduler.siteState(site).binding, "connections");
  assert.ok(first !== undefined);
  world.scheduler.settle(first.handle);
  world.end(first, "good", "closed");
  assert.notEqual(world.dispatch().lane.site, apart);
  assert.notEqual(world.next().kind, "dispatch");
});

test("the rate of lists that have some hosts in common is the largest one's, met while the first of them sends", () => {
  const { some, one, bridge } = hostsOf;
  const limits = { connections: 5, messagesPerSecond: 20 };
  const world = sharing({ [some]: limits }, { [some]: 500 });
  world.run(3_000);
  for (const site of [one, bridge]) world.site(site, limits);
  for (let n = 0; n < 1_000; n++) world.add({ site: n % 2 === 0 ? one : bridge });
  world.run(10_000);
  const times = timesOf(world);
  assert.ok(mostWithin(times, 1000) <= 20, `${mostWithin(times, 1000)} in a second`);
  assert.ok(times.length >= 13 * 19, `${times.length} in 13 s`);
  for (const site of [some, one, bridge])
    assert.ok(timesOf(world, site).filter((at) => at > start + 4_000).length >= 50, site);
});

test("a message that its peer answered late counts late for a list that is met afterwards, too", () => {
  const { some, one, bridge } = hostsOf;
  const world = sharing({ [some]: { connections: 1, messagesPerSecond: 2 } }, { [some]: 2 });
  world.peer.reaches = () => 0;
  world.peer.takes = () => (world.mailed.length === 0 ? 7_000 : 10);
  world.run(7_005);
  for (const site of [one, bridge]) world.site(site, { connections: 2, messagesPerSecond: 4 });
  for (let n = 0; n < 40; n++) world.add({ site: n % 2 === 0 ? one : bridge });
  world.run(8_000);
  // The first one was counted just before its answer.
  const counted = world.mailed.map(({ at, counted: by }, place) => (place === 0 ? at + 7_000 : by));
  assert.equal(mostWithin(counted, 1000), 4, counted.map((at) => at - start).join(" "));
  assert.ok(counted.length >= 28, `${counted.length}`);
});

test("what waits for a connection of others goes on when they share no longer", () => {
  const { some, one, bridge } = hostsOf;
  const limits = { connections: 1 };
  const world = sharing({ [some]: limits, [bridge]: limits, [one]: limits }, { [some]: 1, [one]: 1 });
  const began = world.dispatch();
  const other = began.lane.site === some ? one : some;
  assert.notEqual(world.next().kind, "dispatch");
  // The bridge has no mail and is forgotten after a while; what is under way takes longer than that.
  const steps: Step[] = [];
  for (let minute = 0; minute < 5; minute++) {
    world.now += 61_000;
    steps.push(world.next());
  }
  assert.equal(world.scheduler.knowsSite(bridge), false);
  assert.deepEqual(
    steps.flatMap((step) => (step.kind === "dispatch" ? step.dispatch.lane.site : [])),
    [other],
  );
});

test("only so many sites share: beyond that each has its limits for itself, and nothing gets slow", () => {
  const world = sharing({}, {});
  const sites = Array.from({ length: 2_000 }, (_, n) => `mx:p.example/mx,mx${n}`);
  for (const site of sites) {
    world.site(site, { connections: 1 });
    world.add({ site });
  }
  const dispatched = new Set<string>();
  for (let step = world.next(); step.kind === "dispatch"; step = world.next())
    dispatched.add(step.dispatch.lane.site);
  assert.equal(dispatched.size, 1 + 2_000 - 100);
});
