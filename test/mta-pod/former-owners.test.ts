import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { guestSite } from "#crds/wire/subject.ts";
import { createFormer, type FormerDeps } from "#mta-pod/former-owners.ts";
import { encodeHandOver, type FormerOwner } from "#mta-pod/hand-over-record.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { SiteHandover } from "#mta-pod/schedule/types.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const start = 1_700_000_000_000;
const owner = { pod: "pod-1", incarnation: "a" };
type Answer = Awaited<ReturnType<FormerDeps["ask"]>>;

/** One shard (0), one site "s" of 2 connections, three entries (sequences 1 to 3), a former owner that says what it is told to. */
function scene(t: TestContext) {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  const world = {
    now: start,
    answer: undefined as Answer,
    /** Of pods that say something else. */
    answers: {} as Record<string, Answer>,
    others: [] as (typeof owner)[],
    dead: false as boolean | string,
    reported: [] as [string, string, number][],
    vanished: [] as [string, number][],
    scheduler,
  };
  const former = createFormer({
    scheduler,
    clock: { now: () => world.now, monotonic: () => world.now - start },
    log: silentLog,
    shardOf: () => 0,
    sources: () => ["default"],
    isSelf: ({ pod }) => pod === "self",
    isDead: ({ pod }) => world.dead === true || world.dead === pod,
    lastReported: () => world.reported,
    hadGuests: () => false,
    vanished: ({ pod }, shard) => void world.vanished.push([pod, shard]),
    all: () => world.others,
    ask: async ({ pod }) => (pod in world.answers ? world.answers[pod] : world.answer),
    pump: () => {},
  });
  return {
    world,
    former,
    /** The record of an owner with so many connections open and sequence 2 under way. */
    record: (open: number, site = "s", former: readonly FormerOwner[] = []) => {
      const spent = { source: "default", open, window: 2, pausedUntil: 0 };
      const sources = [{ ...spent, nextMessageAt: start, nextConnectionAt: start }];
      const sites = [{ site, backoffUntil: 0, sources }];
      return { ...owner, record: encodeHandOver({ inFlight: [2], sites, former }, start) };
    },
    add(messagesPerSecond?: number) {
      scheduler.setTenants(new Map([["a", { weight: 1, held: false }]]), world.now);
      const limits = { connections: 2, ...(messagesPerSecond === undefined ? {} : { messagesPerSecond }) };
      scheduler.setSite("s", { limits }, world.now);
      for (const seq of [1, 2, 3])
        scheduler.add(
          { site: "s", tenant: "a", class: "transactional" },
          {
            shard: 0,
            seq,
            idHash: seq,
            size: 1,
            receivedAt: start,
            expiresAt: start + 1e9,
            due: 0,
            attempt: 0,
          },
          world.now,
        );
    },
    /** How many dispatches the scheduler gives now. */
    startable(): number {
      let count = 0;
      while (scheduler.next(world.now).kind === "dispatch") count++;
      return count;
    },
    async pass(ms: number) {
      world.now += ms;
      t.mock.timers.tick(500);
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    },
  };
}

const left = (inFlight: number[], open: number): Answer => ({
  incarnation: "a",
  inFlight,
  open: open === 0 ? [] : [["s", "default", open]],
});

test("what the former owner has under way is left alone until it says that it is through", async (t) => {
  const { world, former, record, pass } = scene(t);
  former.owned(0, record(1), "released");
  const mayBegin = (): boolean[] => [1, 2].map((seq) => former.mayBegin({ shard: 0, seq }));
  assert.deepEqual(mayBegin(), [true, false]);
  world.answer = left([2], 1);
  await pass(500);
  assert.deepEqual(mayBegin(), [true, false]);
  world.answer = left([], 1);
  await pass(500);
  assert.deepEqual(mayBegin(), [true, true]);
  former.stop();
});

test("what a pod has told itself holds it up in nothing: it knows what it has under way, and its connections", (t) => {
  const { former, record, add, startable } = scene(t);
  former.owned(0, { ...record(2), pod: "self" }, "released");
  add();
  assert.equal(startable(), 2, "none of its connections is counted twice");
  for (const seq of [1, 2, 3]) assert.equal(former.mayBegin({ shard: 0, seq }), true);
  assert.deepEqual(former.leftBy(0), []);
  former.stop();
});

test("its open connections count until it says that they are closed", async (t) => {
  const { world, former, record, add, startable, pass } = scene(t);
  former.owned(0, record(1), "released");
  add();
  assert.equal(startable(), 1, "one of two is still the other's");
  world.answer = left([], 0);
  await pass(500);
  assert.equal(startable(), 1);
  former.stop();
});

test("an owner that died may have waited for others: all are asked, and nothing begins before they have answered", async (t) => {
  const { world, former, add, startable, pass } = scene(t);
  const second = { pod: "pod-2", incarnation: "a" };
  world.others = [{ pod: "gone", incarnation: "a" }, owner, second];
  world.dead = "gone";
  world.answers = {
    gone: left([1], 2),
    "pod-1": left([2], 1),
    "pod-2": { incarnation: "b", inFlight: [3], open: [] },
  };
  former.owned(0, { pod: "gone", incarnation: "a", record: null }, "witnessed");
  assert.ok(former.askingMs(0) > 0);
  await pass(0);
  assert.equal(former.askingMs(0), 0);
  const mayBegin = (): boolean[] => [1, 2, 3].map((seq) => former.mayBegin({ shard: 0, seq }));
  assert.deepEqual(mayBegin(), [true, false, true], "a dead one's and a former process's words do not count");
  add();
  assert.equal(startable(), 1, "one of two connections is pod-1's");
  world.answers["pod-1"] = left([], 0);
  await pass(500);
  assert.deepEqual([mayBegin(), startable()], [[true, true, true], 1]);
  former.stop();
});

const guests = guestSite("s", "rest");
const guest = { pod: "guest", incarnation: "a" };
const asGuest = { ...guest, inFlight: [], sites: [guests] };

test("guests that an owner tells of count until their own pods say that they are gone, also when that owner has ended", async (t) => {
  const { world, former, record, add, startable, pass } = scene(t);
  world.others = [owner, guest, { pod: "silent", incarnation: "a" }];
  world.answers = {
    "pod-1": left([], 0),
    guest: { ...guest, inFlight: [], open: [[guests, "default", 1]] },
    silent: undefined,
  };
  former.owned(0, record(1, guests, [asGuest]), "released");
  assert.equal(former.askingMs(0), 0, "nobody has to be asked first");
  world.dead = "pod-1";
  await pass(500);
  add();
  assert.equal(startable(), 1, "one of two connections is the guest's");
  world.answers["guest"] = { ...guest, inFlight: [], open: [] };
  await pass(500);
  assert.equal(startable(), 1, "whoever else is silent is no guest");
  former.stop();
});

test("a guest that does not answer counts for a minute, or until it is known to be dead, and is told of to the next owner", async (t) => {
  for (const how of ["silent", "dead"] as const) {
    const { world, former, record, add, startable, pass } = scene(t);
    world.answers = { "pod-1": left([], 0), guest: undefined };
    former.owned(0, record(1, guests, [asGuest]), "released");
    await pass(500);
    add();
    assert.equal(startable(), 1);
    assert.deepEqual(former.leftBy(0), [asGuest]);
    if (how === "dead") world.dead = "guest";
    await pass(how === "dead" ? 500 : 60_000);
    assert.equal(startable(), 1, how);
    assert.deepEqual(former.leftBy(0), []);
    former.stop();
    t.mock.timers.reset();
  }
});

test("what a pod has open as a guest of the owner before counts at the site that it takes over itself", async (t) => {
  const { world, former, record, add, startable, pass } = scene(t);
  const self = { ...asGuest, pod: "self", inFlight: [3] };
  world.answers = { "pod-1": left([], 0), self: { ...self, open: [[guests, "default", 1]] } };
  former.owned(0, record(1, guests, [self]), "released");
  assert.equal(former.mayBegin({ shard: 0, seq: 3 }), true, "what it has under way itself is not waited for");
  await pass(500);
  add();
  assert.equal(startable(), 1);
  world.answers["self"] = { ...self, open: [] };
  await pass(500);
  assert.equal(startable(), 1);
  former.stop();
});

test("whoever is asked and does not answer is not waited for, and a shard that is lost meanwhile is not either", async (t) => {
  const { world, former, pass } = scene(t);
  world.others = [owner];
  world.answer = left([2], 1);
  former.owned(0, { ...owner, record: null }, "expired");
  former.owned(0, null, "absent");
  assert.equal(former.askingMs(0), 0);
  await pass(0);
  assert.equal(former.mayBegin({ shard: 0, seq: 2 }), true);
  former.owned(0, { ...owner, record: null }, "expired");
  world.answer = undefined;
  await pass(0);
  assert.equal(former.askingMs(0), 0);
  former.stop();
});

test("of whoever is asked and does not answer the connections that it last reported count", async (t) => {
  const { world, former, add, startable, pass } = scene(t);
  const frozen = { pod: "frozen", incarnation: "a" };
  world.others = [{ pod: "gone", incarnation: "a" }, frozen, owner];
  world.dead = "gone";
  world.answers = { "pod-1": left([], 0) };
  world.reported = [["s", "default", 1]];
  former.owned(0, { pod: "gone", incarnation: "a", record: null }, "witnessed");
  await pass(0);
  add();
  world.now += 100;
  assert.equal(startable(), 1, "one of two connections is the frozen one's");
  await pass(60_000);
  assert.equal(startable(), 1);
  former.stop();
});

test("whoever was asked and did not answer has nothing open once it is known to be dead", async (t) => {
  const { world, former, add, startable, pass } = scene(t);
  world.others = [{ pod: "frozen", incarnation: "a" }];
  world.reported = [
    ["s", "default", 2],
    ["of another shard", "default", 9],
  ];
  former.owned(0, { ...owner, record: null }, "witnessed");
  await pass(0);
  add();
  assert.equal(startable(), 0);
  world.dead = "frozen";
  await pass(500);
  assert.equal(startable(), 2);
  former.stop();
});

test("an owner that is gone without a word is told of, once; one that handed over, or comes back itself, is not", (t) => {
  const { world, former, record } = scene(t);
  former.owned(0, record(1), "released");
  former.owned(0, { ...owner, record: null }, "resumed");
  former.owned(0, { ...owner, record: null }, "released");
  former.owned(0, null, "absent");
  assert.deepEqual(world.vanished, []);
  former.owned(0, { ...owner, record: null }, "witnessed");
  former.owned(0, { ...owner, record: null }, "expired");
  assert.deepEqual(world.vanished, [
    ["pod-1", 0],
    ["pod-1", 0],
  ]);
  former.stop();
});

test("a shard that is lost for a moment and resumed still waits for its former owner", async (t) => {
  const { world, former, record, add, startable, pass } = scene(t);
  former.owned(0, record(1), "released");
  add();
  former.owned(0, { ...owner, pod: "self", record: null }, "resumed");
  world.answer = left([2], 1);
  await pass(500);
  assert.equal(former.mayBegin({ shard: 0, seq: 2 }), false);
  assert.equal(startable(), 1, "one of two is still the other's");
  world.answer = left([], 0);
  await pass(500);
  assert.equal(former.mayBegin({ shard: 0, seq: 2 }), true);
  former.stop();
});

/** pod-1 handed on with sequence 2 and a connection at "s", and pod-2 hands on while pod-1 is not through. */
function chain(t: TestContext) {
  const middle = scene(t);
  middle.add();
  middle.former.owned(0, middle.record(1), "released");
  const snapshot = middle.world.scheduler.snapshot("s") ?? assert.fail();
  const former = middle.former.leftBy(0);
  const told = encodeHandOver({ inFlight: [3], sites: [snapshot], former }, start);
  middle.former.stop();
  t.mock.timers.reset();
  const last = scene(t);
  last.former.owned(0, { pod: "pod-2", incarnation: "b", record: told }, "released");
  const through = { incarnation: "b", inFlight: [], open: [] };
  return { ...last, through };
}

test("a shard that goes on before its former owner is through: the next one waits for both", async (t) => {
  const { world, former, add, startable, pass, through } = chain(t);
  add();
  const mayBegin = (): boolean[] => [1, 2, 3].map((seq) => former.mayBegin({ shard: 0, seq }));
  assert.deepEqual(mayBegin(), [true, false, false]);
  assert.equal(startable(), 1, "one of two is still the first one's");
  world.answers = { "pod-1": left([2], 1), "pod-2": through };
  await pass(500);
  assert.deepEqual(mayBegin(), [true, false, true]);
  assert.equal(startable(), 0);
  world.answers = { "pod-1": left([], 0), "pod-2": through };
  await pass(500);
  assert.deepEqual(mayBegin(), [true, true, true]);
  assert.equal(startable(), 1);
  former.stop();
});

test("the death of the one in between frees nothing of the first one's", async (t) => {
  const { world, former, pass } = chain(t);
  world.answers = { "pod-1": left([2], 1), "pod-2": undefined };
  world.dead = "pod-2";
  await pass(500);
  assert.deepEqual(
    [1, 2, 3].map((seq) => former.mayBegin({ shard: 0, seq })),
    [true, false, true],
  );
  former.stop();
});

for (const [how, tell] of [
  ["its death is known", (world: { dead: boolean | string }) => (world.dead = true)],
  [
    "it was started again",
    (world: { answer: Answer }) => (world.answer = { incarnation: "b", inFlight: [], open: [] }),
  ],
] as const)
  test(`everything of the former owner is free once ${how}`, async (t) => {
    const { world, former, record, add, startable, pass } = scene(t);
    former.owned(0, record(2), "released");
    add();
    assert.equal(startable(), 0);
    tell(world);
    await pass(500);
    assert.equal(startable(), 2);
    assert.equal(former.mayBegin({ shard: 0, seq: 2 }), true);
    former.stop();
  });

test("a former owner that has fallen silent loses its connections after a minute, its mail after eleven", async (t) => {
  const { former, record, add, startable, pass } = scene(t);
  former.owned(0, record(2), "released");
  add();
  await pass(59_000);
  assert.equal(startable(), 0);
  await pass(1000);
  assert.equal(startable(), 2);
  assert.equal(former.mayBegin({ shard: 0, seq: 2 }), false);
  await pass(600_000);
  assert.equal(former.mayBegin({ shard: 0, seq: 2 }), true);
  former.stop();
});

test("after an expiry that nobody witnessed the connections last reported count for a minute", async (t) => {
  const { world, former, add, startable } = scene(t);
  world.reported = [["s", "default", 2]];
  former.owned(0, { ...owner, record: null }, "expired");
  add();
  assert.equal(startable(), 0);
  world.now += 60_000;
  assert.equal(startable(), 2);
});

test("without a word about rates one interval passes before the first message", (t) => {
  for (const [how, handOver, waits] of [
    ["witnessed", { ...owner, record: null }, true],
    ["released", { ...owner, record: { v: 9 } }, true],
    ["absent", null, false],
  ] as const) {
    t.mock.timers.reset();
    const { world, former, add, startable } = scene(t);
    former.owned(0, handOver, how);
    former.met("s");
    add(1);
    assert.equal(startable(), waits ? 0 : 1, how);
    world.now += 1200;
    assert.equal(startable(), 1, how);
  }
});

test("without a word the first message of a slow rate waits out its interval, however late its site is met", (t) => {
  const { world, former, add, startable } = scene(t);
  former.owned(0, { ...owner, record: null }, "expired");
  world.now += 61_000;
  former.met("s");
  // One in two minutes, or a little more: paced at 97 %.
  add(30 / 3600);
  assert.equal(startable(), 0, "the silent owner may have sent a minute ago");
  world.now += 62_000;
  assert.equal(startable(), 0);
  world.now += 1000;
  assert.equal(startable(), 1);
});

test("without a word one interval passes also at a site whose rate is known already", (t) => {
  const { world, former, add, startable } = scene(t);
  add(1);
  former.owned(0, { ...owner, record: null }, "witnessed");
  assert.equal(startable(), 0);
  world.now += 1200;
  assert.equal(startable(), 1);
});

test("rates of which nobody told go on untold with the shard", (t) => {
  const first = scene(t);
  first.former.owned(0, { ...owner, record: null }, "witnessed");
  const untoldSince = first.former.untoldSince(0);
  t.mock.timers.reset();
  const { world, former, add, startable } = scene(t);
  world.now += 60_000;
  const record = encodeHandOver({ inFlight: [], sites: [], untoldSince }, world.now);
  former.owned(0, { pod: "pod-2", incarnation: "b", record }, "released");
  former.met("s");
  add(1 / 100);
  assert.equal(startable(), 0);
  world.now += 44_000;
  assert.equal(startable(), 1, "103 seconds after the first owner's death");
});

test("a record that had no room for all sites says nothing of the rates of others", (t) => {
  const { world, former, add, startable } = scene(t);
  const siteOf = (site: string, open: number) => {
    const spent = { source: "default", open, window: 2, pausedUntil: 0 };
    return { site, backoffUntil: 0, sources: [{ ...spent, nextMessageAt: 0, nextConnectionAt: 0 }] };
  };
  const others = Array.from({ length: 500 }, (_, index) => siteOf(`t${index}`, 0));
  const owned = (sites: SiteHandover[]): void => {
    const record = encodeHandOver({ inFlight: [], sites }, start);
    former.owned(0, { ...owner, record }, "released");
    former.met("s");
  };
  owned([...others, siteOf("s", 0)]);
  add(1);
  assert.equal(startable(), 0);
  world.now += 1200;
  assert.equal(startable(), 1);
  world.now = start;
  owned([siteOf("s", 2), ...others]);
  world.now += 1200;
  assert.equal(startable(), 0, "its connections were told");
  former.stop();
});

test("connections of an owner that fell silent count on when a site is met later, and when the shard is handed on", (t) => {
  const { world, former, add, startable } = scene(t);
  world.reported = [["s", "default", 1]];
  former.owned(0, { ...owner, record: null }, "expired");
  former.met("s");
  add();
  // A moment, in which what the silent owner sent late counts.
  world.now += 100;
  assert.equal(startable(), 1);
  const told = encodeHandOver(
    { inFlight: [], sites: [world.scheduler.snapshot("s") ?? assert.fail()] },
    start,
  );
  t.mock.timers.reset();
  const next = scene(t);
  next.former.owned(0, { pod: "pod-2", incarnation: "b", record: { ...told, inFlight: [] } }, "released");
  next.world.scheduler.forgetFormer("s", start);
  next.add();
  next.world.now += 100;
  assert.equal(next.startable(), 1, "one of the two is still the silent owner's");
});
