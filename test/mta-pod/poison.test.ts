import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { Attempts } from "#mta-pod/attempt.ts";
import type { Loaded } from "#mta-pod/load.ts";
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

/** Of every site here; twice as many of each lane are suspected for good. */
const concurrency = 2;
const heads = 2 * concurrency;

function turnOf(fields: Partial<Entry>, tenant = dispatch.lane.tenant): Dispatch {
  return { ...dispatch, entry: { ...entry, ...fields }, lane: { ...dispatch.lane, tenant } };
}

/** Notes what is written and done; attempts throw nothing, they are only begun. */
function world() {
  const clock = { time: start, now: () => clock.time, monotonic: () => clock.time - start };
  const written: StateRecord[] = [];
  const done: string[] = [];
  const logged: [string, unknown][] = [];
  const ends: Parameters<Attempts["start"]>[2][] = [];
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
      log: { ...silentLog, error: (verb, { id }: { id?: string } = {}) => void logged.push([verb, id]) },
      clock,
      metrics: { parked: { set: (count: number) => void (parked = count) } } as never,
    },
    owns: () => true,
    leaseSeqOf: () => 5,
    concurrencyOf: () => concurrency,
  });
  const queued: { after?: ReturnType<Scheduler["entryOf"]> } = {};
  const scheduler: Pick<Scheduler, "finish" | "settle" | "entryOf"> = {
    entryOf: () => queued.after,
    finish: () => void done.push("finished"),
    settle: () => void done.push("settled"),
  };
  const attempts: Pick<Attempts, "start"> = { start: (_dispatch, _loaded, ended) => void ends.push(ended) };
  const postponed: number[] = [];
  const handling = createHandling({
    pod: { scheduler: scheduler as Scheduler, clock },
    poison,
    attempts,
    postpone: (_dispatch, ms) => void postponed.push(ms),
  });
  const parts = { poison, handling, queued, written, done, logged, ends, postponed, clock };
  return { ...parts, parked: () => parked };
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

  test("is logged with its message's id, each time and when it is parked", async () => {
    const one = world();
    for (let tries = 0; tries < 3; tries++) await fail(one);
    const lines = ["entry failed", "entry failed", "entry failed", "entry parked"];
    assert.deepEqual(
      one.logged,
      lines.map((line) => [line, "bad"]),
    );
  });

  test("is parked at once when its peer had answered: a second try could be a second copy", async () => {
    const one = world();
    await fail(one, true);
    assert.equal(one.parked(), 1);
  });
});

const record: StateRecord = { attempt: 0, due: 0, open: [0], idHash: 7, last: "" };

describe("what kills", () => {
  test("is noted before each attempt after an owner's death, and only what was queued then, all of it for a minute", async () => {
    const one = world();
    assert.equal(one.poison.isSuspect(dispatch), false);
    one.poison.owned(3, "released");
    assert.equal(one.poison.isSuspect(dispatch), false);
    one.poison.owned(3, "witnessed");
    for (let seq = 1; seq <= 100; seq++) assert.equal(one.poison.isSuspect(turnOf({ seq })), true);
    assert.equal(one.poison.isSuspect(turnOf({ receivedAt: start + 1 })), false);
    one.handling.start(dispatch, loaded, () => {});
    await until("the attempt", () => one.ends.length === 1);
    assert.equal(one.written[0]?.started, 1);
    one.clock.time += 60_000;
    assert.equal(one.poison.isSuspect(turnOf({ seq: 99 })), false);
  });

  test("is noted however late it has its turn, as the first of its lane; not all that stands behind it is", () => {
    const { poison, clock } = world();
    poison.owned(3, "witnessed");
    clock.time += 600_000;
    const suspects = (tenant: string, from: number): number[] =>
      Array.from({ length: 10_000 }, (_, index) => from + index).filter((seq) =>
        poison.isSuspect(turnOf({ seq }, tenant)),
      );
    assert.deepEqual(suspects("a", 1), [1, 2, 3, 4]);
    assert.deepEqual(suspects("b", 20_001), [20_001, 20_002, 20_003, 20_004]);
    assert.equal(poison.isSuspect(turnOf({ seq: 1, receivedAt: start + 1 }, "c")), false);
    for (let seq = 40_001; seq <= 40_010; seq++) poison.isSuspect(turnOf({ seq, due: start - 500 }, "a"));
    assert.equal(poison.isSuspect(turnOf({ seq: 1, due: start + 1 }, "a")), true, "postponed, it still is");
    assert.equal(poison.isSuspect(turnOf({ seq: 5, due: start + 1 }, "a")), false);
  });

  test("is noted when its successor begins with the newest, and it has its turn after them", () => {
    const { poison, clock } = world();
    poison.owned(3, "witnessed");
    clock.time += 600_000;
    for (let seq = 500_000; seq < 510_000; seq++) poison.isSuspect(turnOf({ seq }));
    const suspects = Array.from({ length: 1000 }, (_, index) => 41 + index).filter((seq) =>
      poison.isSuspect(turnOf({ seq })),
    );
    assert.deepEqual(suspects, [41, 42, 43, 44]);
  });

  test("is noted when it was deferred before, however many go before it: it was due first", () => {
    const { poison, clock } = world();
    poison.owned(3, "witnessed");
    clock.time += 600_000;
    for (let seq = 1001; seq <= 1100; seq++) poison.isSuspect(turnOf({ seq }));
    const dueOf = (seq: number): number => start - 1000 + ((seq * 7919) % 997);
    let count = 0;
    for (let seq = 1; seq <= 900; seq++)
      if (poison.isSuspect(turnOf({ seq, due: dueOf(seq), attempt: 1 }))) count++;
    assert.ok(count < 20 * heads, `${count} are noted`);
    assert.equal(poison.isSuspect(turnOf({ seq: 901, due: start - 2000, attempt: 1 })), true);
    assert.equal(poison.isSuspect(turnOf({ seq: 902, due: start, attempt: 1 })), false);
  });

  test("stays suspected by the note of an owner before, wherever it stands", () => {
    const { poison, clock } = world();
    poison.owned(3, "witnessed");
    assert.equal(poison.verdict(3, 5000, { ...record, started: 1 }), "fine");
    clock.time += 600_000;
    for (let seq = 1; seq < 5000; seq++) poison.isSuspect(turnOf({ seq }));
    assert.equal(poison.isSuspect(turnOf({ seq: 5001 })), false);
    assert.equal(poison.isSuspect(turnOf({ seq: 5000 })), true);
  });

  test("stays suspected when its owner loses the shard for a moment and goes on", () => {
    const { poison, clock } = world();
    poison.owned(3, "witnessed");
    poison.lost(3);
    clock.time += 600_000;
    poison.owned(3, "resumed");
    assert.equal(poison.isSuspect(dispatch), true);
    poison.lost(3);
    poison.owned(3, "released");
    assert.equal(poison.isSuspect(dispatch), false, "another owner had it meanwhile, and told of nothing");
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

  test("has no note any more once it is back in its place untried, as when its site could not be reached", async () => {
    const after = async (
      isUntried: boolean,
      entryAfter: ReturnType<Scheduler["entryOf"]>,
    ): Promise<unknown[]> => {
      const one = world();
      one.poison.owned(3, "witnessed");
      let ended = 0;
      one.handling.start(dispatch, { ...loaded, started: 1 }, () => void ended++);
      await until("the attempt", () => one.ends.length === 1);
      one.queued.after = entryAfter;
      for (const end of one.ends) end(isUntried);
      await until("its end", () => ended === 1);
      return one.written.map(({ started }) => started);
    };
    const { lane } = dispatch;
    for (const state of ["ready", "suspended", "waiting"] as const)
      assert.deepEqual(await after(true, { entry, lane, state }), [2, 1]);
    assert.deepEqual(await after(true, undefined), [2], "gone to another shard");
    assert.deepEqual(await after(false, undefined), [2], "delivered");
    const ready = { entry, lane, state: "ready" } as const;
    assert.deepEqual(
      await after(false, ready),
      [2],
      "some were taken, the rest goes at once: its record is new",
    );
    const { poison, written } = world();
    poison.owned(3, "witnessed");
    const once = { ...loaded, started: 1 };
    const first = await poison.note(entry, once);
    assert.ok(typeof first === "object");
    await first.undo();
    await poison.note(entry, once);
    assert.deepEqual(
      written.map(({ started }) => started),
      [2, 1, 2],
      "the next time it is noted anew",
    );
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
    assert.equal(taking.poison.isSuspect(dispatch), true);
    assert.equal(taking.poison.isSuspect(turnOf({ receivedAt: start + 1 })), false);
    const next = await taking.poison.note(entry, begun.loaded);
    assert.ok(typeof next === "object");
    assert.deepEqual([next.loaded.started, taking.written.length], [1, 0]);
    taking.poison.reread(3);
    assert.equal(taking.poison.isSuspect(dispatch), true, "an index read again forgets nothing of that");
  });

  test("stays suspected at the head of its lane when the shard goes on in order later, for a day", () => {
    const giving = world();
    giving.poison.owned(3, "witnessed");
    const isSuspectAfter = (ms: number): boolean => {
      const told = encodeHandOver(
        { inFlight: [], sites: [], suspicion: giving.poison.suspicion(3) },
        start + ms,
      );
      const taking = world();
      taking.clock.time += ms;
      const read = decodeHandOver(told, taking.clock.time);
      assert.ok(read);
      taking.poison.owned(3, "released", read.suspicion);
      assert.equal(taking.poison.isSuspect(turnOf({ receivedAt: start + 1 })), false);
      return taking.poison.isSuspect(dispatch);
    };
    assert.equal(isSuspectAfter(600_000), true);
    assert.equal(isSuspectAfter(86_400_001), false);
  });

  test("is to be parked at the third death: two notes, and the first that left none", () => {
    const { poison } = world();
    poison.owned(3, "witnessed");
    assert.equal(poison.verdict(3, 41, undefined), "fine");
    assert.equal(poison.verdict(3, 41, { ...record, started: 1 }), "fine");
    assert.equal(poison.verdict(3, 41, { ...record, started: 2 }), "deadly");
    assert.equal(poison.verdict(3, 41, { ...record, parked: true }), "parked");
  });

  test("is not taken for it when its index is read again: the second note is of who lives", async () => {
    const { poison, written } = world();
    poison.owned(3, "witnessed");
    await poison.note(entry, { ...loaded, started: 1 });
    const [noted] = written;
    assert.equal(noted?.started, 2);
    poison.reread(3);
    assert.equal(poison.verdict(3, entry.seq, noted), "fine");
  });

  test("is not taken for what it was under way at when its owner handed the shard over or goes on", () => {
    const { poison } = world();
    for (const how of ["released", "resumed"] as const) {
      poison.owned(3, how);
      assert.equal(poison.verdict(3, 41, { ...record, started: 2 }), "fine");
    }
  });
});
