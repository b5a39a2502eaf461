import assert from "node:assert/strict";
import { test } from "node:test";
import { idHashOf } from "#crds/wire/state-record.ts";
import { type Acts, createActs } from "#mta-pod/acts.ts";
import { createQueuedActs } from "#mta-pod/queued-acts.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import { envelope } from "#test/kit/spool.ts";

const now = 1_700_000_000_000;

function only(acts: () => Acts) {
  return {
    ask: async (kind: string, query: unknown) => [
      { pod: "pod-0", answer: kind === "act" ? await acts().beginHere(query) : acts().progressHere(query) },
    ],
  } as never;
}

/** One pod with two entries in its index and two that its reader gives only when the test says so. */
function scene() {
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map([["mail/a", { weight: 1, held: true }]]), now);
  const add = (seq: number, idHash = seq): void => {
    const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
    const lane = { site: "s", tenant: "mail/a", class: "bulk" } as const;
    scheduler.add(lane, { shard: 0, seq, idHash, size: 1000, ...times }, now);
  };
  [1, 2].forEach((seq) => add(seq));
  let isIndexed = false;
  let changes = 0;
  const bounced: number[] = [];
  const whole = Object.assign<number[], { onAct(seq: number): object }>([], { onAct: () => ({}) });
  const members = [{ pod: "pod-0" }];
  const acts: Acts = createActs({
    pod: {
      scheduler,
      log: silentLog,
      clock: { now: () => now, monotonic: () => performance.now() },
      newId: () => "job-1",
      config: () => ({ tenants: new Map([["mail/a", {}]]) }),
      ownership: { mayProceed: () => true, members: () => members },
    } as never,
    peers: only(() => acts),
    deliver: {
      pump: () => {},
      bounce: async (handle: number) => {
        await new Promise(setImmediate);
        return bounced.push(scheduler.entryOf(handle)?.entry.seq ?? 0) > 0;
      },
    } as never,
    parked: { list: () => [] } as never,
    unsplit: {
      list: () => whole.map((seq) => ({ shard: 0, seq, idHash: seq })),
      act: async (_action: string, { seq }: { seq: number }) => whole.onAct(seq),
    } as never,
    purging: {} as never,
    isIndexed: () => isIndexed,
    changes: () => changes,
  });
  return {
    acts,
    bounced,
    add,
    /** Sequences of messages that are not split yet. */
    whole,
    giveAway: () => void changes++,
    index() {
      [3, 4].forEach((seq) => add(seq));
      isIndexed = true;
    },
  };
}

test("an act waits for shards that are being indexed: what is stored is meant, not what is known", async () => {
  const { acts, bounced, index } = scene();
  const acting = acts.act("bounce", { tenant: "mail/a" });
  await new Promise(setImmediate);
  assert.deepEqual(bounced, []);
  index();
  const { affected, total, isDone } = await acting;
  assert.deepEqual([bounced.toSorted((a, b) => a - b), affected, total, isDone], [[1, 2, 3, 4], 4, 4, true]);
});

test("an act meets messages that are not split yet first, then what came of them meanwhile, and nothing that was taken in since", async () => {
  const { acts, bounced, index, whole, add } = scene();
  index();
  whole.push(7, 8);
  whole.onAct = (seq) => {
    add(10 * seq, seq);
    add(10 * seq + 1);
    return { isAffected: seq === 7, isPassedOver: seq === 8 };
  };
  const { affected, total, looked, interrupted } = await acts.act("bounce", { tenant: "mail/a" });
  assert.deepEqual(
    bounced.toSorted((a, b) => a - b),
    [1, 2, 3, 4, 70, 80],
  );
  assert.deepEqual([affected, looked, total, interrupted], [7, 8, 8, ["pod-0"]]);
});

/** The act of one pod in a pool of several, whose answers are prepared: those to each question in turn, the last one again and again. */
function asking(turns: readonly Readonly<Record<string, object | null>>[], members: readonly string[]): Acts {
  let asked = 0;
  return createActs({
    pod: {
      scheduler: createScheduler({ random: () => 0.5, sources: [] }),
      log: silentLog,
      clock: { now: () => now, monotonic: () => performance.now() },
      newId: () => "job-1",
      ownership: { members: () => members.map((pod) => ({ pod })) },
    } as never,
    peers: {
      async ask() {
        const answers = turns[Math.min(asked++, turns.length - 1)] ?? {};
        return Object.entries(answers).map(([pod, answer]) => ({ pod, answer }));
      },
    } as never,
    deliver: {} as never,
    parked: {} as never,
    unsplit: {} as never,
    purging: {} as never,
    isIndexed: () => true,
    changes: () => 0,
  });
}

const done = { looked: 10, total: 10, affected: 10, isDone: true };
const begun = { looked: 5, total: 90, affected: 5, isDone: false };

test("a pod that goes before it is through with an act is named, and what it did counts", async () => {
  const acts = asking([{ "pod-0": begun, "pod-1": begun }, { "pod-0": done }], ["pod-0"]);
  const { affected, isDone, silent } = await acts.act("bounce", { tenant: "mail/a" });
  assert.deepEqual([affected, isDone, silent], [15, true, ["pod-1"]]);
  const again = asking(
    [
      { "pod-0": begun, "pod-1": begun },
      { "pod-0": done, "pod-1": null },
    ],
    ["pod-0", "pod-1"],
  );
  const said = await again.act("bounce", { tenant: "mail/a" });
  assert.deepEqual([said.affected, said.isDone, said.silent], [15, true, ["pod-1"]], "it was started again");
});

test("a pod that was through before it went, or that misses one question, is not", async () => {
  const gone = asking([{ "pod-0": begun, "pod-1": done }, { "pod-0": done }], ["pod-0"]);
  assert.deepEqual((await gone.act("bounce", { tenant: "mail/a" })).silent, []);
  const both = { "pod-0": done, "pod-1": done };
  const late = asking([{ "pod-0": begun, "pod-1": begun }, { "pod-0": done }, both], ["pod-0", "pod-1"]);
  const { affected, isDone, silent } = await late.act("bounce", { tenant: "mail/a" });
  assert.deepEqual([affected, isDone, silent], [20, true, []]);
});

test("an act tells which pods gave shards away, or read them again, before they were through", async () => {
  const { acts, index, giveAway } = scene();
  const acting = acts.act("bounce", { tenant: "mail/a" });
  index();
  giveAway();
  assert.deepEqual((await acting).interrupted, ["pod-0"]);
  assert.deepEqual((await acts.act("bounce", { tenant: "mail/a" })).interrupted, ["pod-0"], "the same job");
  const calm = scene();
  calm.giveAway();
  calm.index();
  assert.deepEqual((await calm.acts.act("bounce", { tenant: "mail/a" })).interrupted, []);
});

/** One pod whose mail waits: each is for later or was deferred, is named by its id, and had so many attempts. */
function waiting(mails: Readonly<Record<string, { readonly isLater: boolean; readonly attempt: number }>>) {
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map([["mail/a", { weight: 1, held: false }]]), now);
  scheduler.setSite("s", { limits: { connections: 5 } }, now);
  const due = now + 3_600_000;
  const envelopes = Object.entries(mails).map(([id, { isLater }]) =>
    envelope({ id, sendAt: isLater ? due : 0 }),
  );
  const lane = { site: "s", tenant: "mail/a", class: "bulk" } as const;
  const times = { receivedAt: now, expiresAt: now + 1e9, due };
  for (const [seq, { id }] of envelopes.entries()) {
    const attempt = mails[id]?.attempt ?? 0;
    scheduler.add(lane, { shard: 0, seq, idHash: idHashOf(id), size: 1000, ...times, attempt }, now);
  }
  const read: string[] = [];
  const clock = { now: () => now, monotonic: () => performance.now() };
  const facts = {
    body: Buffer.alloc(0),
    subject: "",
    open: [0],
    stateSeq: 0,
    leaseSeq: 1,
    last: "",
    started: 0,
  };
  const queuedActs = createQueuedActs({
    pod: { scheduler, clock },
    async load({ seq }) {
      const found = envelopes[seq];
      if (found === undefined) return "gone";
      read.push(found.id);
      return { envelope: found, ...facts };
    },
    hold: () => () => {},
    isFree: () => true,
    settleWithout: () => {},
  });
  const acts: Acts = createActs({
    pod: {
      scheduler,
      clock,
      log: silentLog,
      newId: () => "job-1",
      config: () => ({ tenants: new Map([["mail/a", {}]]) }),
      ownership: { mayProceed: () => true, members: () => [{ pod: "pod-0" }] },
    } as never,
    peers: only(() => acts),
    deliver: { pump: () => {}, ...queuedActs } as never,
    parked: { list: () => [] } as never,
    unsplit: { list: () => [] } as never,
    purging: {} as never,
    isIndexed: () => true,
    changes: () => 0,
  });
  return {
    read,
    /** How many it is said to be about, and what the scheduler then lets go. */
    async retry(query: { id?: string; site?: string; domain?: string }): Promise<[number, string[]]> {
      const { affected } = await acts.act("retry", query);
      const gone: string[] = [];
      for (;;) {
        const step = scheduler.next(now);
        if (step.kind !== "dispatch") return [affected, gone.toSorted()];
        gone.push(envelopes[step.dispatch.entry.seq]?.id ?? "");
      }
    },
  };
}

const mails = {
  later: { isLater: true, attempt: 0 },
  // Some of its recipients were bounced: one attempt is noted of it, so that its state is read.
  rest: { isLater: true, attempt: 1 },
  postponed: { isLater: false, attempt: 0 },
  deferred: { isLater: false, attempt: 1 },
  again: { isLater: false, attempt: 2 },
};

test("a retry leaves mail for later alone, and reads only what may be some", async () => {
  const scene = waiting(mails);
  assert.deepEqual(await scene.retry({ site: "s" }), [3, ["again", "deferred", "postponed"]]);
  assert.deepEqual(scene.read.toSorted(), ["deferred", "later", "postponed", "rest"]);
});

test("a retry of a domain leaves mail for later alone as well", async () => {
  assert.deepEqual(await waiting(mails).retry({ domain: "example.net" }), [
    3,
    ["again", "deferred", "postponed"],
  ]);
});

test("a retry that names a message by its id sends it before its time", async () => {
  assert.deepEqual(await waiting(mails).retry({ id: "later" }), [1, ["later"]]);
  assert.deepEqual(await waiting(mails).retry({ id: "later", domain: "example.net" }), [1, ["later"]]);
});
