import assert from "node:assert/strict";
import { test } from "node:test";
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import { parentSite, poolNames } from "#crds/wire/subject.ts";
import type { ActionName } from "#mta-pod/acts.ts";
import type { Deliver } from "#mta-pod/deliver.ts";
import { createParkedActs } from "#mta-pod/parked-acts.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createPoison } from "#mta-pod/poison.ts";
import type { QueueQuery } from "#mta-pod/queue-query.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Removed } from "#mta-pod/spool/deletions.ts";
import type { States } from "#mta-pod/spool/states.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

test("what is being parked is not sent on its way before that is written: it would be undone by it", async () => {
  const parkedMail = envelope({ id: "bad" });
  const body = Buffer.alloc(0);
  const written: StateRecord[] = [];
  const added: (StateRecord | undefined)[] = [];
  const store = Promise.withResolvers<void>();
  const states: Pick<States, "read" | "write"> = {
    async read() {
      const record = written.at(-1);
      return record === undefined ? { kind: "none" } : { kind: "state", stateSeq: 9, record };
    },
    async write(_shard, _seq, { record }) {
      await store.promise;
      written.push(record);
      return { kind: "written", stateSeq: 9 };
    },
  };
  const pod = {
    states,
    entries: { fetch: async () => ({ kind: "entry", subject: "", envelope: parkedMail, body }) },
    ownership: { mayProceed: () => true },
    log: silentLog,
    clock: { now: () => 0, monotonic: () => 0 },
    metrics: { parked: { set: () => {} } },
  } as unknown as Pod;
  const poison = createPoison({ pod, owns: () => true, leaseSeqOf: () => 5, concurrencyOf: () => 1 });
  const deliver = {
    add: (_at, _envelope, { state }) => void added.push(state),
    pump: () => {},
  } satisfies Partial<Deliver> as unknown as Deliver;
  const acts = createParkedActs({ pod, poison, deliver: () => deliver, leaseSeqOf: () => 5 });
  const entry = { shard: 3, seq: 41, idHash: idHashOf("bad"), attempt: 0, due: 0 };
  let isParked = false;
  poison.park(entry, { envelope: parkedMail, open: [0], reason: "broken" }, () => void (isParked = true));
  const retry = async (): Promise<boolean[]> =>
    Promise.all(acts.list({ id: "bad" }).map((one) => acts.act("retry", one, {})));
  assert.deepEqual([await retry(), added], [[false], []]);
  store.resolve();
  await until("it to be written", () => isParked);
  assert.deepEqual(await retry(), [true]);
  assert.deepEqual([added[0]?.parked, added[0]?.open, poison.sizeOf(3)], [undefined, [0], 0]);
});

/** One parked entry, of which so much can be read; what is done with it is noted. */
function parked(
  left: "all" | "envelope" | "nothing",
  fields: Partial<Envelope> = {},
  now: { readonly id?: string; readonly left?: typeof left } = {},
) {
  const mail = envelope({ id: "bad", ...fields });
  const stored = { ...mail, id: now.id ?? mail.id };
  const told: {
    readonly notify: readonly number[];
    readonly body: number;
    readonly isBodyShared: boolean;
  }[] = [];
  const removed: unknown[] = [];
  const fetched = {
    all: { kind: "entry", subject: "", envelope: stored, body: Buffer.from("Subject: x\r\n\r\n") },
    envelope: { kind: "damaged", issues: [], envelope: stored },
    nothing: { kind: "damaged", issues: [] },
  }[now.left ?? left];
  const pod = {
    states: { read: async () => ({ kind: "none" }) },
    entries: {
      fetch: async () => fetched,
      remove(entry: unknown, done: (result: Removed) => void) {
        removed.push(entry);
        done("removed");
      },
    },
    ownership: { mayProceed: () => true },
    config: () => ({ tenants: new Map() }),
    log: silentLog,
    clock: { now: () => 0, monotonic: () => 0 },
    metrics: { parked: { set: () => {} } },
  } as unknown as Pod;
  const poison = createPoison({ pod, owns: () => true, leaseSeqOf: () => 5, concurrencyOf: () => 1 });
  const deliver = {
    settleParked(_at, { loaded, decision }, done) {
      const { isBodyShared } = loaded.envelope;
      told.push({ notify: decision.notify, body: loaded.body.length, isBodyShared });
      done();
    },
  } satisfies Partial<Deliver> as unknown as Deliver;
  const acts = createParkedActs({ pod, poison, deliver: () => deliver, leaseSeqOf: () => 5 });
  const subject = poolNames("mail/pool").entrySubject(3, "mail/acme", "s");
  const at = { shard: 3, seq: 41, subject };
  poison.keep({ ...at, id: "bad", envelope: left === "nothing" ? undefined : mail, reason: "broken" });
  const act = async (action: ActionName, query: QueueQuery): Promise<boolean[]> =>
    Promise.all(acts.list(query).map((one) => acts.act(action, one, query)));
  return { acts, act, told, removed, at, count: () => poison.sizeOf(3) };
}

for (const left of ["all", "envelope"] as const) {
  test(`of what is parked and has ${left} left a bounce tells its sender, a discard nobody`, async () => {
    for (const [action, notify] of [
      ["bounce", [0]],
      ["discard", []],
    ] as const) {
      const one = parked(left);
      assert.deepEqual(await one.act(action, { tenant: "mail/acme" }), [true], action);
      assert.deepEqual([one.told.map((what) => what.notify), one.count()], [[notify], 0], action);
    }
  });
}

test("a parked message for several sites leaves its large body to those of it that are stored already", async () => {
  const shared = async (site: string): Promise<boolean | undefined> => {
    const one = parked("all", { site, bodyChunks: 2 });
    await one.act("bounce", { id: "bad" });
    return one.told[0]?.isBodyShared;
  };
  assert.deepEqual([await shared(parentSite), await shared("s")], [true, false]);
});

test("what is parked and cannot be read whole is not sent on its way", async () => {
  for (const left of ["envelope", "nothing"] as const) {
    const one = parked(left);
    assert.deepEqual([await one.act("retry", { id: "bad" }), one.count()], [[false], 1], left);
  }
});

test("an unreadable entry goes with its tenant, or when it is named: whoever bounces others owes their senders a report", async () => {
  for (const [action, query, isGone] of [
    ["discard", { tenant: "mail/acme" }, true],
    ["bounce", { id: "bad" }, true],
    ["bounce", { tenant: "mail/acme" }, false],
    ["bounce", {}, false],
  ] as const) {
    const one = parked("nothing");
    const what = `${action} ${JSON.stringify(query)}`;
    assert.deepEqual(await one.act(action, query), [isGone], what);
    assert.deepEqual(one.removed, isGone ? [{ ...one.at, isUnreadable: true }] : [], what);
    assert.deepEqual([one.told, one.count()], [[], isGone ? 0 : 1], what);
  }
});

test("what was parked is left alone when another message has its sequence by now", async () => {
  for (const one of [
    parked("all", {}, { id: "another" }),
    parked("envelope", {}, { id: "another" }),
    parked("nothing", {}, { left: "all" }),
  ])
    for (const action of ["retry", "bounce", "discard"] as const) {
      assert.deepEqual(await one.act(action, { id: "bad" }), [false], action);
      assert.deepEqual([one.told, one.removed], [[], []], action);
    }
});

test("an unreadable entry is its tenant's alone, and of no known site or domain", () => {
  const one = parked("nothing");
  for (const [query, count] of [
    [{}, 1],
    [{ id: "bad" }, 1],
    [{ id: "bad", tenant: "mail/acme" }, 1],
    [{ id: "bad", tenant: "mail/globex" }, 0],
    [{ tenant: "mail/globex" }, 0],
    [{ site: "s" }, 0],
    [{ domain: "example.net" }, 0],
  ] as const)
    assert.equal(one.acts.list(query).length, count, JSON.stringify(query));
});

test("a parked message is shown by its id to its tenant alone", () => {
  const { acts } = parked("all");
  assert.equal(acts.list({ id: "bad", tenant: "mail/acme" }).length, 1);
  assert.equal(acts.list({ id: "bad", tenant: "mail/globex" }).length, 0);
});
