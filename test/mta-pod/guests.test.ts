import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { guestSite } from "#crds/wire/subject.ts";
import type { Room } from "#mta-pod/guest-limits.ts";
import { permitMs } from "#mta-pod/guest-protocol.ts";
import { createGuests, type Guests } from "#mta-pod/guests.ts";
import { createPermits, type Gate } from "#mta-pod/permits.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const start = 1_700_000_000_000;
const place = "mx:isp.example/mx";
const target = { host: "mx.isp.example", address: "192.0.2.1", port: 25, home: place };
const limits = { connections: 1, messagesPerSecond: 10 };

beforeEach(() => mock.timers.enable({ apis: ["setInterval", "setTimeout"] }));
afterEach(() => mock.timers.reset());

/** A home and a guest, with core NATS between them. */
function world() {
  const state = {
    now: 0,
    owns: true,
    isCut: false,
    tells: true,
    dead: "",
    owner: "home",
    /** Answers are held up until then. */
    answerAfter: undefined as Promise<void> | undefined,
    release: (): void => {},
    told: [] as number[][],
    met: [] as string[],
    asked: [] as unknown[],
    room: {} as Room | undefined,
    mayBe: true,
  };
  const clock = { now: () => start + state.now, monotonic: () => state.now };
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  const pump = (): void => {
    for (let step = scheduler.next(clock.now()); step.kind === "admit"; step = scheduler.next(clock.now()))
      guests.admitted(step.handle);
  };
  const ownership = {
    tell: async () => {
      state.told.push([...guests.told()]);
      return state.tells;
    },
    ended: { isDead: ({ pod }: { pod: string }) => pod === state.dead },
    ownerOf: () => state.owner,
    members: () => [{ pod: "home" }],
  };
  const podOf = (name: string): Pod =>
    ({ name, incarnation: `${name}.1`, scheduler, clock, log: silentLog, ownership }) as unknown as Pod;
  const guests: Guests = createGuests({
    pod: podOf("home"),
    shardOf: () => 3,
    mayBegin: () => state.owns,
    met: (site) => void state.met.push(site),
    roomAt: () => state.room,
    spent: () => {},
    pump,
  });
  const permits = createPermits({
    pod: podOf("guest"),
    shards: 8,
    mayBeAt: () => state.mayBe,
    peers: {
      async askPod(pod, kind, { query }) {
        state.asked.push(query);
        if (state.isCut || pod !== "home" || kind !== "guest") return undefined;
        const said = await guests.answer(query);
        await state.answerAfter;
        return said;
      },
    },
  });
  const happened: string[] = [];
  const gateOf = (name: string): Gate =>
    permits.gate(
      { rule: "rest", limits, source: "default" },
      {
        lapsed: () => void happened.push(`${name} lapsed`),
        wanted: () => void happened.push(`${name} wanted`),
      },
    );
  const settle = async (): Promise<void> => {
    for (let n = 0; n < 20; n++) await Promise.resolve();
  };
  return {
    state,
    scheduler,
    guests,
    permits,
    happened,
    gateOf,
    settle,
    async enter(gate: Gate): Promise<boolean | undefined> {
      let isAdmitted: boolean | undefined;
      gate.admit(target, (is) => (isAdmitted = is));
      await settle();
      return isAdmitted;
    },
    async turn(gate: Gate): Promise<number | undefined | "none"> {
      let found: number | undefined | "none" = "none";
      gate.permit()?.turn((ms) => (found = ms));
      await settle();
      return found;
    },
    /** Time passes, in steps that no timer is shorter than. */
    async pass(ms: number): Promise<void> {
      for (let left = ms; left > 0; left -= 100) {
        state.now += 100;
        mock.timers.tick(100);
        await settle();
        pump();
      }
    },
    open: () => scheduler.siteState(guestSite(place, "rest")).open,
  };
}

test("a guest is let in, gets its turn, stays as long as it is renewed, and is counted until it says that it has left", async () => {
  const { enter, turn, pass, open, gateOf, state, happened } = world();
  const gate = gateOf("first");
  assert.equal(await enter(gate), true);
  assert.deepEqual(state.told, [[3]], "heartbeats say so before");
  assert.deepEqual(state.met, [guestSite(place, "rest")]);
  const permit = gate.permit();
  assert.equal(permit?.holds(), false, "it has had no turn");
  assert.equal(await turn(gate), 0);
  assert.equal(permit?.holds(), true);
  await pass(20_000);
  assert.equal(permit?.holds(), true);
  assert.equal(open(), 1);
  gate.leave(true);
  await pass(100);
  assert.equal(open(), 0);
  assert.equal(permit?.holds(), true, "for what was promised last");
  await pass(permitMs);
  assert.equal(permit?.holds(), false);
  assert.deepEqual(happened, []);
});

test("a second guest waits for the first, and is sent away when that takes too long", async () => {
  const { enter, pass, gateOf, happened, turn } = world();
  const [first, second] = [gateOf("first"), gateOf("second")];
  assert.equal(await enter(first), true);
  await turn(first);
  let answer: boolean | undefined;
  second.admit(target, (is) => (answer = is));
  await pass(1000);
  assert.equal(answer, undefined);
  first.leave(true);
  await pass(100);
  assert.equal(answer, true);
  await pass(3000);
  await turn(second);
  const third = gateOf("third");
  third.admit(target, (is) => (answer = is));
  await pass(1800);
  assert.deepEqual(
    happened,
    ["second wanted"],
    "a second after its first message, however long connecting took",
  );
  await pass(7000);
  assert.equal(answer, false);
});

test("who waits asks again when its home loses the shard, whoever has it then; after eight seconds it looks elsewhere", async () => {
  for (const how of ["owns", "owner"] as const) {
    const { enter, pass, gateOf, state } = world();
    const first = gateOf("first");
    await enter(first);
    const answers: boolean[] = [];
    for (const name of ["second", "third"]) gateOf(name).admit(target, (is) => answers.push(is));
    await pass(500);
    if (how === "owns") state.owns = false;
    else state.owner = "another";
    await pass(1100);
    assert.deepEqual(answers, [], how);
    state.owns = true;
    state.owner = "home";
    first.leave(true);
    await pass(1500);
    assert.deepEqual(answers, [true], `${how}: one is let in`);
    await pass(16_000);
    assert.deepEqual(answers, [true, false], how);
  }
});

test("no more than eight wait at a place, also while heartbeats are told; other places have room", async () => {
  const { gateOf, guests, settle, state } = world();
  let answers = 0;
  for (let n = 0; n < 20; n++) gateOf(`g${n}`).admit(target, () => answers++);
  await settle();
  assert.equal(answers, 1 + 12, "one is let in, seven wait");
  const owner = { pod: "guest", incarnation: "guest.1" };
  const site = guestSite("mx:innocent.example/mx", "rest");
  const said = (await guests.answer({ op: "enter", site, source: "default", limits, owner })) as {
    handle?: number;
  };
  assert.equal(typeof said.handle, "number");
  assert.deepEqual(state.told, [[3]]);
});

test("what was let in long before it is told of is given back; so is what is told when nobody waits any more", async () => {
  for (const how of ["late", "gone"] as const) {
    const { gateOf, settle, pass, state, open } = world();
    state.answerAfter = new Promise((resolve) => (state.release = resolve));
    let isAdmitted: boolean | undefined;
    gateOf("guest").admit(target, (is) => (isAdmitted = is));
    await settle();
    assert.equal(open(), 1);
    if (how === "gone") state.owner = "another";
    await pass(how === "gone" ? 400 : 2500);
    const { asked } = state;
    assert.equal(asked.length, 1);
    state.owns = false;
    state.release();
    state.answerAfter = undefined;
    await pass(600);
    assert.deepEqual([isAdmitted, open()], [undefined, 0], "it asks again, and the other one has left");
    state.owns = true;
    state.owner = "home";
    await pass(600);
    assert.deepEqual([isAdmitted, open()], [true, 1]);
  }
});

test("nobody is let in by a pod that does not own the shard, or could not say that it has guests", async () => {
  const { enter, pass, gateOf, state, open } = world();
  state.owns = false;
  assert.equal(await enter(gateOf("one")), undefined);
  await pass(8500);
  state.owns = true;
  state.tells = false;
  assert.equal(await enter(gateOf("two")), undefined);
  await pass(8500);
  assert.equal(open(), 0);
  state.tells = true;
  assert.equal(await enter(gateOf("three")), true, "it is told again");
  assert.equal(open(), 1);
});

test("guests have no more than there is room for at the place, which holds for all that were there before", async () => {
  const { guests, scheduler, state, settle } = world();
  const enter = async (rule: string, connections: number): Promise<void> => {
    const site = guestSite(place, rule);
    const owner = { pod: "guest", incarnation: "guest.1" };
    // One that waits is not answered yet.
    void guests.answer({ op: "enter", site, source: "default", limits: { connections }, owner });
    await settle();
  };
  const windows = (): number[] =>
    ["one", "two"].map((rule) => scheduler.siteState(guestSite(place, rule)).window);
  state.room = { connections: 3 };
  await enter("one", 9);
  await enter("two", 2);
  assert.deepEqual(windows(), [3, 2]);
  state.room = { connections: 1, messagesPerSecond: 5 };
  await enter("two", 2);
  assert.deepEqual(windows(), [1, 1]);
});

test("nobody is let in, nor asks, where slices change; who is there is cut off, by its home and by itself", async () => {
  for (const side of ["home", "guest", "itself"] as const) {
    const { enter, turn, pass, gateOf, state, happened, permits } = world();
    const gate = gateOf("guest");
    await enter(gate);
    await turn(gate);
    if (side === "home") state.room = undefined;
    if (side === "guest") state.mayBe = false;
    if (side === "itself") permits.leave("mx:isp.example/mx");
    const asked = state.asked.length;
    if (side !== "itself") {
      assert.equal(await enter(gateOf("late")), undefined);
      assert.equal(state.asked.length - asked, side === "home" ? 1 : 0);
    }
    await pass(600);
    assert.deepEqual(happened, side === "guest" ? [] : ["guest lapsed"]);
    assert.equal(gate.permit()?.holds(), side === "guest");
  }
});

test("a guest that is let in where it may not be any more leaves at once", async () => {
  const { gateOf, settle, pass, state, open } = world();
  state.answerAfter = new Promise((resolve) => (state.release = resolve));
  let isAdmitted: boolean | undefined;
  gateOf("guest").admit(target, (is) => (isAdmitted = is));
  await settle();
  state.mayBe = false;
  state.release();
  state.answerAfter = undefined;
  await pass(600);
  assert.deepEqual([isAdmitted, open()], [undefined, 0]);
  await pass(8000);
  assert.deepEqual([isAdmitted, open()], [false, 0]);
});

test("when its home is lost, or does not answer, what was permitted lapses in time, and no turn is given", async () => {
  for (const trouble of ["owns", "isCut"] as const) {
    const { enter, turn, pass, gateOf, state, happened } = world();
    const gate = gateOf("guest");
    await enter(gate);
    await turn(gate);
    state[trouble] = trouble === "isCut";
    const permit = gate.permit();
    await pass(permitMs + 100);
    assert.equal(permit?.holds(), false, trouble);
    await pass(600);
    assert.equal(happened[0], "guest lapsed");
    assert.equal(await turn(gate), undefined);
    assert.equal(permit?.isWanted, true, "the connection is not kept");
  }
});

test("a message that is late for its dot is given another moment, which its home counts", async () => {
  const { enter, turn, pass, settle, gateOf, state, scheduler } = world();
  const gate = gateOf("guest");
  await enter(gate);
  assert.equal(await turn(gate), 0);
  const permit = gate.permit();
  assert.equal(permit?.finalDotMs(), 0);
  const dots = (): number => state.asked.filter((query) => (query as { op: string }).op === "dot").length;
  await pass(1500);
  // Its home counts ten a second, so that this one would be the eleventh.
  for (let n = 0; n < 9; n++) scheduler.bookFinalDot(-1, start + state.now, 0);
  assert.ok((permit?.finalDotMs() ?? 0) > 0, "asked for");
  assert.ok((permit?.finalDotMs() ?? 0) > 0, "on its way");
  await settle();
  assert.equal(dots(), 1);
  assert.equal(permit?.finalDotMs(), 0);
  for (let n = 0; n < 9; n++) scheduler.bookFinalDot(-1, start + state.now, 0);
  await pass(200);
  assert.ok((permit?.finalDotMs() ?? 0) > 0);
  await settle();
  assert.equal(
    permit?.finalDotMs(),
    865,
    "a second and some after the tenth before it, which may have been late",
  );
});

test("the turn of a message is as late as its dot has to be, though its MAIL could go", async () => {
  const { enter, turn, gateOf, state, scheduler } = world();
  const gate = gateOf("guest");
  await enter(gate);
  // Ten dots were held up, and have just been written.
  for (let n = 0; n < 10; n++) scheduler.bookFinalDot(-1, start + state.now, 0);
  assert.equal(await turn(gate), 1015);
});

test("a home that does not know a guest any more says so: what was permitted lapses when it is renewed next", async () => {
  const { enter, turn, pass, gateOf, state, happened, open } = world();
  const gate = gateOf("guest");
  await enter(gate);
  await turn(gate);
  state.owns = false;
  await pass(600);
  assert.deepEqual(happened, ["guest lapsed"]);
  assert.equal(gate.permit()?.holds(), false);
  assert.equal(open(), 1, "until it has left");
  gate.leave(false);
  await pass(100);
  assert.equal(open(), 0);
});

test("heartbeats tell of guests as long as one stays, and for a minute after", async () => {
  const { enter, pass, gateOf, guests } = world();
  const gate = gateOf("guest");
  await enter(gate);
  await pass(90_000);
  assert.deepEqual(guests.told(), [3]);
  gate.leave(true);
  await pass(50_000);
  assert.deepEqual(guests.told(), [3]);
  await pass(15_000);
  assert.deepEqual(guests.told(), []);
});

test("a guest that says nothing any more is given up: soon before its message, later after it; a dead one at once", async () => {
  for (const [hasTurn, givenUpMs] of [
    [false, 20_000],
    [true, 60_000],
  ] as const) {
    const { enter, turn, pass, open, gateOf, state } = world();
    const gate = gateOf("guest");
    await enter(gate);
    if (hasTurn) await turn(gate);
    state.isCut = true;
    await pass(givenUpMs - 1000);
    assert.equal(open(), 1);
    await pass(3000);
    assert.equal(open(), 0);
  }
  const { enter, pass, open, gateOf, state } = world();
  await enter(gateOf("guest"));
  state.dead = "guest";
  await pass(1100);
  assert.equal(open(), 0);
});

test("the end is told until it is heard, also of one that was let in when nobody wanted it any more", async () => {
  const { enter, pass, open, gateOf, state } = world();
  const gate = gateOf("guest");
  await enter(gate);
  state.isCut = true;
  gate.leave(false);
  await pass(3000);
  assert.equal(open(), 1);
  state.isCut = false;
  await pass(600);
  assert.equal(open(), 0);
  const late = gateOf("late");
  let answer: boolean | undefined;
  late.admit(target, (is) => (answer = is));
  late.leave(false);
  await pass(100);
  assert.deepEqual([answer, open()], [false, 0]);
});

test("a connection that others wait for is asked back", async () => {
  const { enter, turn, pass, gateOf, happened, scheduler } = world();
  const gate = gateOf("guest");
  await enter(gate);
  await turn(gate);
  const now = start + 1000;
  scheduler.setTenants(new Map([["a", { weight: 1, held: false }]]), now);
  scheduler.setSite(place, { limits }, now);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0 };
  scheduler.add(
    { site: place, tenant: "a", class: "bulk" },
    { shard: 3, seq: 1, idHash: 1, size: 1, attempt: 0, ...times },
    now,
  );
  await pass(3000);
  assert.equal(happened[0], "guest wanted");
  assert.equal(gate.permit()?.isWanted, true);
});

for (const [name, query] of Object.entries({
  nothing: null,
  "a word": "enter",
  "an unknown question": { op: "stop", incarnation: "home.1", handle: 1 },
  "a site that is no guest's": {
    op: "enter",
    site: place,
    source: "default",
    limits,
    owner: { pod: "p", incarnation: "i" },
  },
  "limits that are none": {
    op: "enter",
    site: guestSite(place, "rest"),
    source: "default",
    limits: { connections: "9" },
    owner: { pod: "p", incarnation: "i" },
  },
  "handles that are none": { op: "stay", incarnation: "home.1", handles: ["1"] },
}))
  test(`a question that is ${name} is not answered`, async () => {
    const { guests, open } = world();
    await assert.rejects(guests.answer(query), /not understood/);
    assert.equal(open(), 0);
  });

test("what an earlier start of the home let in is nothing to this one", async () => {
  const { guests } = world();
  for (const op of ["turn", "leave"])
    assert.deepEqual(await guests.answer({ op, incarnation: "home.0", handle: -1, isGood: true }), {});
});
