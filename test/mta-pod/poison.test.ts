import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { Attempts, Loaded } from "#mta-pod/attempt.ts";
import { createHandling } from "#mta-pod/handling.ts";
import { decodeHandOver, encodeHandOver } from "#mta-pod/hand-over-record.ts";
import { createPoison } from "#mta-pod/poison.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Dispatch, Entry, Scheduler } from "#mta-pod/schedule/types.ts";
import type { States } from "#mta-pod/spool/states.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const start = 1_700_000_000_000;
const entry: Entry = {
  shard: 3,
  seq: 41,
  idHash: 7,
  size: 1,
  receivedAt: start - 1000,
  expiresAt: start + 1e9,
  due: 0,
  attempt: 0,
};
const dispatch: Dispatch = {
  handle: 1,
  entry,
  lane: { site: "s", tenant: "a", class: "bulk" },
  source: "default",
  connection: "open",
};
const loaded: Loaded = {
  envelope: envelope({ id: "bad" }),
  body: Buffer.alloc(0),
  subject: "",
  open: [0],
  stateSeq: 0,
  leaseSeq: 5,
  last: "",
  started: 0,
};

/** Notes what is written and done; attempts throw nothing, they are only begun. */
function world() {
  const clock = { time: start, now: () => clock.time, monotonic: () => clock.time - start };
  const written: StateRecord[] = [];
  const done: string[] = [];
  const ends: (() => void)[] = [];
  let parked = 0;
  const states: Pick<States, "read" | "write"> = {
    read: async () => ({ kind: "none" }),
    async write(_shard, _seq, { record }) {
      written.push(record);
      return { kind: "written", stateSeq: 100 + written.length };
    },
  };
  const poison = createPoison({
    pod: {
      states: states as States,
      log: silentLog,
      clock,
      metrics: { parked: { set: (count: number) => void (parked = count) } } as never,
    },
    owns: () => true,
    leaseSeqOf: () => 5,
  });
  const scheduler: Pick<Scheduler, "finish" | "settle"> = {
    finish: () => void done.push("finished"),
    settle: () => void done.push("settled"),
  };
  const attempts: Attempts = { start: (_dispatch, _loaded, ended) => void ends.push(ended) };
  const postponed: number[] = [];
  const handling = createHandling({
    pod: { scheduler: scheduler as Scheduler, clock },
    poison,
    attempts,
    postpone: (_dispatch, ms) => void postponed.push(ms),
  });
  return { poison, handling, written, done, ends, postponed, clock, parked: () => parked };
}

describe("what throws", () => {
  const fail = async (one: ReturnType<typeof world>, isAnswered = false): Promise<void> =>
    new Promise((ended) =>
      one.handling.failed(dispatch, loaded, { error: new Error("broken"), isAnswered, ended }),
    );

  test("is tried three times, then parked: noted with its reason, alarmed, out of the index", async () => {
    const one = world();
    await fail(one);
    await fail(one);
    assert.deepEqual(one.postponed, [2000, 4000]);
    assert.equal(one.parked(), 0);
    await fail(one);
    assert.deepEqual(one.done, ["finished", "settled"]);
    const [record] = one.written;
    assert.deepEqual([record?.parked, record?.last, record?.open], [true, "broken", [0]]);
    assert.equal(one.parked(), 1);
    assert.deepEqual(
      [...one.poison.list()].map(({ id, reason }) => [id, reason]),
      [["bad", "broken"]],
    );
    assert.equal(one.poison.sizeOf(3), 1);
    one.poison.release(3, 41);
    assert.equal(one.parked(), 0);
  });

  test("is parked at once when its peer had answered: a second try could be a second copy", async () => {
    const one = world();
    await fail(one, true);
    assert.equal(one.parked(), 1);
  });
});

describe("what kills", () => {
  test("is noted before each attempt after an owner's death, and only what was queued then, for a minute", async () => {
    const one = world();
    assert.equal(one.poison.isSuspect(entry), false);
    one.poison.owned(3, "released");
    assert.equal(one.poison.isSuspect(entry), false);
    one.poison.owned(3, "witnessed");
    assert.equal(one.poison.isSuspect(entry), true);
    assert.equal(one.poison.isSuspect({ ...entry, receivedAt: start + 1 }), false);
    one.handling.start(dispatch, loaded, () => {});
    await until("the attempt", () => one.ends.length === 1);
    assert.equal(one.written[0]?.started, 1);
    one.clock.time += 60_000;
    assert.equal(one.poison.isSuspect(entry), false);
  });

  test("goes alone from its second note on, so that its neighbours are not taken for it", async () => {
    const one = world();
    one.poison.owned(3, "expired");
    const once = { ...loaded, started: 1 };
    const first = await one.poison.note(entry, once);
    assert.ok(typeof first === "object");
    assert.equal(await one.poison.note({ ...entry, seq: 42 }, once), 250);
    first.over();
    assert.equal(typeof (await one.poison.note({ ...entry, seq: 42 }, once)), "object");
  });

  test("has one note of each owner, however often that one begins with it", async () => {
    const one = world();
    one.poison.owned(3, "witnessed");
    const first = await one.poison.note(entry, loaded);
    assert.ok(typeof first === "object");
    first.over();
    const again = await one.poison.note(entry, first.loaded);
    assert.ok(typeof again === "object");
    assert.deepEqual([again.loaded.started, one.written.length], [1, 1]);
    one.poison.owned(3, "witnessed");
    const next = await one.poison.note(entry, first.loaded);
    assert.ok(typeof next === "object");
    assert.equal(next.loaded.started, 2);
  });

  test("stays suspected when the shard goes on in order before it had its turn, and a note of who lives is no death", async () => {
    const giving = world();
    giving.poison.owned(3, "witnessed");
    const begun = await giving.poison.note(entry, loaded);
    assert.ok(typeof begun === "object");
    const told = encodeHandOver(
      { inFlight: [], sites: [], suspicion: giving.poison.suspicion(3) },
      giving.clock.time,
    );
    const taking = world();
    taking.poison.owned(3, "released", decodeHandOver(told, start)?.suspicion);
    assert.equal(taking.poison.isSuspect(entry), true);
    assert.equal(taking.poison.isSuspect({ ...entry, receivedAt: start + 1 }), false);
    const next = await taking.poison.note(entry, begun.loaded);
    assert.ok(typeof next === "object");
    assert.deepEqual([next.loaded.started, taking.written.length], [1, 0]);
    taking.poison.reread(3);
    assert.equal(taking.poison.isSuspect(entry), true, "an index read again forgets nothing of that");
    taking.clock.time += 60_000;
    assert.equal(taking.poison.isSuspect(entry), false);
  });

  const record = { attempt: 0, due: 0, open: [0], idHash: 7, last: "" };
  test("is to be parked at the third death: two notes, and the first that left none", () => {
    const { poison } = world();
    poison.owned(3, "witnessed");
    assert.equal(poison.verdict(3, undefined), "fine");
    assert.equal(poison.verdict(3, { ...record, started: 1 }), "fine");
    assert.equal(poison.verdict(3, { ...record, started: 2 }), "deadly");
    assert.equal(poison.verdict(3, { ...record, parked: true }), "parked");
  });

  test("is not taken for what it was under way at when its owner handed the shard over or goes on", () => {
    const { poison } = world();
    for (const how of ["released", "resumed"] as const) {
      poison.owned(3, how);
      assert.equal(poison.verdict(3, { ...record, started: 2 }), "fine");
    }
  });
});
