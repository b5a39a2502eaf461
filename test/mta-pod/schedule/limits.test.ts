import assert from "node:assert/strict";
import { test } from "node:test";
import { day, mostWithin, start, World } from "./world.ts";

function filled(
  entries: number,
  limits: Parameters<World["site"]>[1],
  sources?: ConstructorParameters<typeof World>[0],
) {
  const world = new World(sources);
  world.tenants({ a: 1 });
  world.site("s", limits);
  for (let index = 0; index < entries; index++) world.add({});
  return world;
}

test("no more connections than the limit are open, and an idle one is used before one is opened", () => {
  const world = filled(10, { connections: 2 });
  const [one, two] = [world.dispatch(), world.dispatch()];
  assert.deepEqual([one.connection, two.connection], ["open", "open"]);
  assert.equal(world.next().kind, "sleep");
  world.done(one);
  const three = world.dispatch();
  assert.equal(three.connection, "reuse");
  world.end(three, "good", "closed");
  assert.equal(world.dispatch().connection, "open");
  const { open, busy, idle } = world.scheduler.siteState("s");
  assert.deepEqual({ open, busy, idle }, { open: 2, busy: 2, idle: 0 });
});

test("the window opens under good deliveries up to the limit", () => {
  const world = filled(5000, { connections: 12 });
  assert.equal(world.scheduler.siteState("s").window, 5);
  world.run(200);
  assert.equal(world.scheduler.siteState("s").window, 12);
  assert.equal(world.running, 12);
  assert.ok(world.scheduler.siteState("s").good >= 12, "good transactions are counted");
});

test("a message rate holds in every sliding second, and is used to 95 %", () => {
  const world = filled(500, { connections: 50, messagesPerSecond: 20 });
  world.run(10_000);
  const times = world.sent.map(({ at }) => at);
  assert.ok(mostWithin(times, 1000) <= 20);
  assert.ok(times.length >= 190, `${times.length} in ten seconds`);
});

test("a connection rate holds where each connection carries one message", () => {
  const world = filled(500, { connections: 50, connectionsPerSecond: 5 });
  world.peer.ends = () => ({ feedback: "good", connection: "closed" });
  world.run(10_000);
  const opened = world.sent.filter(({ dispatch }) => dispatch.connection === "open").map(({ at }) => at);
  assert.equal(opened.length, world.sent.length);
  assert.ok(mostWithin(opened, 1000) <= 5);
  assert.ok(opened.length >= 45);
});

test("limits are per source", () => {
  const world = filled(500, { connections: 2, messagesPerSecond: 10 }, [
    { name: "x", weight: 1 },
    { name: "y", weight: 1 },
  ]);
  world.run(5000);
  for (const source of ["x", "y"]) {
    const times = world.sent.filter(({ dispatch }) => dispatch.source === source).map(({ at }) => at);
    assert.ok(mostWithin(times, 1000) <= 10);
    assert.ok(times.length >= 45);
  }
});

test("holdBeforeMail() spaces what slow connecting has bunched", () => {
  const world = filled(3, { connections: 3, messagesPerSecond: 10 });
  const dispatches = [world.dispatch()];
  for (let index = 0; index < 2; index++) {
    world.now += 104;
    dispatches.push(world.dispatch());
  }
  world.now += 500;
  const holds = dispatches.map(({ handle }) => world.scheduler.holdBeforeMail(handle, world.now));
  assert.deepEqual(
    holds,
    [0, 104, 207].map((ms) => ({ then: "send", ms })),
  );
  assert.equal(world.scheduler.holdBeforeMail(123_456, world.now).ms, 0);
});

test("finalDotMs() keeps dots apart, whatever has held up the messages since they were booked", () => {
  const world = filled(4, { connections: 4, messagesPerSecond: 2 });
  const handles = [1, 2, 3, 4].map(() => {
    const { handle } = world.dispatch();
    world.scheduler.holdBeforeMail(handle, world.now);
    world.now += 520;
    return handle;
  });
  // All came to a standstill before their dots, and go on at once.
  world.now += 5000;
  const dot = (index: number): number => world.scheduler.finalDotMs(handles[index] ?? 0, world.now);
  assert.deepEqual([dot(0), dot(1), dot(2), dot(3)], [0, 0, 1015, 1015]);
  world.now += 1000;
  assert.equal(dot(2), 15);
  world.now += 15;
  assert.deepEqual([dot(3), dot(2)], [0, 0], "whoever asks first; and the second of that second");
  assert.equal(world.scheduler.finalDotMs(123_456, world.now), 0);
});

test("finalDotMs() keeps the rate of each tenant and sender domain as well", () => {
  const world = filled(2, { connections: 2, messagesPerSecond: 100, perTenant: { messagesPerSecond: 1 } });
  const first = world.dispatch();
  world.scheduler.holdBeforeMail(first.handle, world.now);
  world.now += 1100;
  const second = world.dispatch();
  world.scheduler.holdBeforeMail(second.handle, world.now);
  world.now += 100;
  assert.equal(world.scheduler.finalDotMs(first.handle, world.now), 0);
  assert.equal(world.scheduler.finalDotMs(second.handle, world.now), 1015);
});

test("finalDotMs() goes with a clock that is set", () => {
  const world = filled(2, { connections: 2, messagesPerSecond: 1 });
  const first = world.dispatch();
  assert.equal(world.scheduler.finalDotMs(first.handle, world.now), 0);
  world.scheduler.clockSet(-3_600_000);
  world.now -= 3_600_000;
  assert.equal(world.scheduler.finalDotMs(first.handle, world.now), 1015);
});

test("a throttled source pauses, 1 s and then twice as long each time, at half its window", () => {
  const world = filled(50, { connections: 8 });
  world.run(0);
  const flights = world.sent.map(({ dispatch }) => dispatch);
  assert.equal(flights.length, 5);
  for (const dispatch of flights) {
    world.end(dispatch, "throttled", "closed");
    world.scheduler.requeue(dispatch.handle, world.now);
  }
  assert.equal(world.scheduler.siteState("s").window, 2, "five at once are one strike");
  for (const pause of [1000, 2000, 4000, 8000]) {
    assert.equal(world.scheduler.siteState("s").binding, "backoff");
    assert.deepEqual(world.next(), { kind: "sleep", ms: pause });
    world.now += pause;
    const dispatch = world.dispatch();
    world.end(dispatch, "throttled", "closed");
    world.scheduler.requeue(dispatch.handle, world.now);
  }
  assert.equal(world.scheduler.siteState("s").window, 1);
  world.now += 16_000;
  world.done(world.dispatch());
  assert.equal(world.scheduler.siteState("s").binding, null);
});

test("an unreachable site backs off as a whole, 5 s and then twice as long, and comes back on one connection", () => {
  const world = filled(50, { connections: 8 }, [
    { name: "x", weight: 1 },
    { name: "y", weight: 1 },
  ]);
  world.run(0);
  for (const { dispatch } of world.sent) {
    world.end(dispatch, "unreachable", "closed");
    world.scheduler.requeue(dispatch.handle, world.now);
  }
  for (const pause of [5000, 10_000, 20_000]) {
    assert.equal(world.scheduler.siteState("s").backoffUntil, world.now + pause);
    assert.deepEqual(world.next(), { kind: "sleep", ms: pause });
    world.now += pause;
    const probes = [world.dispatch(), world.dispatch()];
    assert.equal(world.next().kind, "sleep", "one connection of each source");
    for (const probe of probes) {
      world.end(probe, "unreachable", "closed");
      world.scheduler.requeue(probe.handle, world.now);
    }
  }
  world.now += 40_000;
  world.done(world.dispatch());
  assert.equal(world.scheduler.siteState("s").backoffUntil, 0);
});

test("a failed connection beside good ones pauses the source, not the site", () => {
  const world = filled(50, { connections: 8 }, [
    { name: "x", weight: 1 },
    { name: "y", weight: 1 },
  ]);
  const [one, two] = [world.dispatch(), world.dispatch()];
  world.done(one);
  world.end(two, "unreachable", "closed");
  world.scheduler.requeue(two.handle, world.now);
  assert.equal(world.scheduler.siteState("s").backoffUntil, 0);
  assert.equal(world.dispatch().source, one.source);
});

test("a refused mail says nothing about the site", () => {
  const world = filled(50, { connections: 8 });
  for (let index = 0; index < 40; index++) {
    const dispatch = world.dispatch();
    world.end(dispatch, "neutral");
    world.scheduler.settle(dispatch.handle);
  }
  assert.equal(world.scheduler.siteState("s").window, 5);
  assert.equal(world.scheduler.siteState("s").binding, null);
});

test("an idle connection that went away makes room, also one that a dispatch was promised", () => {
  const world = filled(10, { connections: 1 });
  world.done(world.dispatch());
  world.scheduler.connectionClosed("s", "default", world.now);
  const again = world.dispatch();
  assert.equal(again.connection, "open");
  world.done(again);
  const promised = world.dispatch();
  assert.equal(promised.connection, "reuse");
  world.scheduler.connectionClosed("s", "default", world.now);
  assert.equal(world.next().kind, "sleep");
  world.end(promised, "neutral", "kept");
  world.scheduler.requeue(promised.handle, world.now);
  assert.equal(world.dispatch().connection, "open");
  world.scheduler.connectionClosed("s", "nobody", world.now);
  world.scheduler.connectionClosed("unknown", "default", world.now);
});

test("a connection on which goodbye is being said counts until it is closed, and carries nothing", () => {
  const world = filled(10, { connections: 2 });
  const first = world.dispatch();
  const second = world.dispatch();
  world.end(first, "good", "closing");
  world.scheduler.settle(first.handle);
  assert.equal(world.next().kind, "sleep", "its peer has two connections");
  world.done(second);
  assert.equal(world.dispatch().connection, "reuse", "the other one is idle");
  assert.equal(world.next().kind, "sleep");
  world.scheduler.connectionClosed("s", "default", world.now, "closing");
  assert.equal(world.dispatch().connection, "open");
  assert.equal(world.next().kind, "sleep");
});

test("a lower limit starts nothing new and names the connections to close", () => {
  const world = filled(20, { connections: 4 });
  const flights = [1, 2, 3, 4].map(() => world.dispatch());
  world.site("s", { connections: 2 });
  assert.equal(world.scheduler.surplus("s", "default"), 2);
  for (const dispatch of flights.slice(0, 3)) world.done(dispatch);
  assert.equal(world.scheduler.siteState("s").open, 4);
  assert.equal(world.scheduler.surplus("s", "default"), 2);
  assert.equal(world.dispatch().connection, "reuse");
  assert.equal(world.next().kind, "sleep");
  world.scheduler.connectionClosed("s", "default", world.now);
  world.scheduler.connectionClosed("s", "default", world.now);
  assert.equal(world.scheduler.surplus("s", "default"), 0);
});

test("an unresolved site waits, and after retryAt it is tried on one connection", () => {
  const world = new World();
  world.tenants({ a: 1 });
  for (let index = 0; index < 5; index++) world.add({});
  assert.equal(world.scheduler.knowsSite("s"), false);
  assert.deepEqual(world.next(), { kind: "sleep", ms: 3_600_000 });
  world.scheduler.setSite("s", "unresolved", world.now);
  assert.equal(world.scheduler.knowsSite("s"), true);
  assert.equal(world.scheduler.siteState("s").binding, "unresolved");
  world.scheduler.setSite("s", { retryAt: world.now + 700 }, world.now);
  assert.deepEqual(world.next(), { kind: "sleep", ms: 700 });
  world.now += 700;
  world.dispatch();
  assert.equal(world.next().kind, "sleep");
  world.site("s", { connections: 3 });
  world.dispatch();
  world.dispatch();
});

test("a source that was taken away is used no more; one that came is used at once", () => {
  const world = filled(10, { connections: 1 });
  const old = world.dispatch();
  world.scheduler.setSources([{ name: "other", weight: 1 }], world.now);
  assert.equal(world.dispatch().source, "other");
  world.done(old);
  assert.equal(world.next().kind, "sleep");
  assert.equal(world.scheduler.siteState("s").open, 2);
});

test("a clock that is set back does not freeze pauses and rates", () => {
  const world = filled(10, { connections: 1, messagesPerSecond: 1 });
  world.done(world.dispatch());
  world.now -= 3_600_000;
  assert.deepEqual(world.next(), { kind: "sleep", ms: 1031 });
  world.now += 1031;
  const dispatch = world.dispatch();
  world.end(dispatch, "unreachable", "closed");
  world.scheduler.requeue(dispatch.handle, world.now);
  world.now -= day;
  assert.deepEqual(world.next(), { kind: "sleep", ms: 5000 });
  assert.ok(world.now < start);
});

test("a clock that is set ahead lets nobody send sooner", () => {
  const world = filled(100, { connections: 10, messagesPerSecond: 4 });
  const sentAt: number[] = [];
  let steps = 0;
  for (let ms = 0; ms < 5_000; ms += 10) {
    if (ms % 1500 === 750) {
      world.scheduler.clockSet(90_000);
      world.now += 90_000;
      steps++;
    }
    for (let step = world.next(); step.kind === "dispatch"; step = world.next()) {
      assert.deepEqual(world.scheduler.holdBeforeMail(step.dispatch.handle, world.now), {
        then: "send",
        ms: 0,
      });
      sentAt.push(ms);
      world.done(step.dispatch);
    }
    world.now += 10;
  }
  assert.ok(steps >= 2 && sentAt.length >= 18, `${sentAt.length} in five seconds`);
  assert.ok(mostWithin(sentAt, 1000) <= 4, sentAt.join(" "));
});

test("the time a site was held back is told once, by what held it", () => {
  const world = filled(10, { connections: 1 });
  const first = world.dispatch();
  world.next();
  world.now += 300;
  world.end(first, "throttled", "closed");
  world.scheduler.settle(first.handle);
  world.next();
  world.now += 1000;
  world.dispatch();
  assert.deepEqual(world.scheduler.takeHeldTimes(), [
    { site: "s", binding: "connections", ms: 300 },
    { site: "s", binding: "backoff", ms: 1000 },
  ]);
  assert.deepEqual(world.scheduler.takeHeldTimes(), []);
});

const leavings: Readonly<Record<string, (world: World) => void>> = {
  "is suspended": ({ scheduler, now }) => scheduler.suspend({ tenant: "a" }, null, now),
  "is held": (world) => hold(world, true),
  bounces: ({ scheduler }) => {
    for (const handle of scheduler.handles({ site: "s" })) scheduler.settle(handle);
  },
  "is another pod's": ({ scheduler }) => scheduler.dropShard(0),
};
for (const [what, go] of Object.entries(leavings))
  test(`no time counts in which nothing was held back: all mail that was ${what}`, () => {
    const world = filled(3, { connections: 1, messagesPerSecond: 1 });
    world.done(world.dispatch());
    world.next();
    world.now += 300;
    world.next();
    go(world);
    assert.notEqual(world.next().kind, "dispatch");
    world.now += 8 * 3_600_000;
    world.scheduler.resume({}, world.now);
    hold(world, false);
    for (let count = 0; count < 2; count++) world.add({});
    world.dispatch();
    world.next();
    world.now += 200;
    world.next();
    world.scheduler.dropShard(0);
    assert.deepEqual(world.scheduler.takeHeldTimes(), [{ site: "s", binding: "messageRate", ms: 500 }]);
  });

function hold({ scheduler, now }: World, held: boolean): void {
  scheduler.setTenants(new Map([["a", { weight: 1, held }]]), now);
}

test("a rate that is spent binds, also while the only connection is busy for a moment; then what is left does", () => {
  const world = filled(3, { connections: 1, messagesPerSecond: 0.5 });
  const first = world.dispatch();
  assert.equal(world.scheduler.siteState("s").binding, "messageRate");
  assert.equal(world.scheduler.bindingOf({ site: "s", tenant: "a" }), "messageRate");
  world.next();
  world.now += 2_100;
  world.next();
  assert.equal(world.scheduler.siteState("s").binding, "connections");
  world.now += 1_000;
  world.done(first);
  world.dispatch();
  assert.deepEqual(world.scheduler.takeHeldTimes(), [
    { site: "s", binding: "messageRate", ms: 2_100 },
    { site: "s", binding: "connections", ms: 1_000 },
  ]);
});

test("numbers that are none are refused, or mean the strictest", () => {
  const world = filled(1, { connections: Number.NaN });
  world.dispatch();
  for (const rate of [0, -1, Number.NaN])
    assert.throws(() => world.site("s", { connections: 1, messagesPerSecond: rate }), RangeError);
  for (const broken of [{ expiresAt: Number.NaN }, { due: Number.NaN }, { receivedAt: -1 }])
    assert.throws(() => world.add({}, broken), RangeError);
  world.scheduler.suspend({}, Number.NaN, world.now);
  world.add({});
  assert.equal(world.next().kind, "sleep");
});
