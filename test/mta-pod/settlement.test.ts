import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import type { Envelope } from "#crds/wire/envelope.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { EventFacts, EventStamp } from "#crds/wire/event.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import type { Intake, Message } from "#mta-pod/intake.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createSettled, RecentIds } from "#mta-pod/recent-ids.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Decision, RecipientOutcome } from "#mta-pod/settle/decide.ts";
import { type Attempted, createSettlement } from "#mta-pod/settlement.ts";
import { reply } from "#mta-pod/smtp/reply.ts";
import type { States } from "#mta-pod/spool/states.ts";
import type { Stored } from "#mta-pod/spool/publisher.ts";
import { createMetrics } from "#mta-pod/telemetry/metrics.ts";
import { quietSources } from "#test/kit/metrics.ts";
import { envelope } from "#test/kit/spool.ts";

const now = 1_700_000_000_000;
const rewriteMs = 2000;
const stored: Stored = { kind: "stored", seq: 9, duplicate: false, bodyChunks: 0, subject: "" };
const refused: Stored = { kind: "refused", reason: "unavailable" };
type Written = Awaited<ReturnType<States["write"]>>;

interface Setting {
  readonly mail?: Partial<Envelope>;
  readonly stateSeq?: number;
  /** What the nth put of a report, the nth state written is answered with; default stored, written. */
  readonly puts?: readonly Stored[];
  readonly states?: readonly Written[];
}

/** One attempted entry in a spool that notes what is asked of it, in order, and answers a turn later. */
function world({ mail = {}, stateSeq = 0, puts = [], states = [] }: Setting = {}) {
  const calls: string[] = [];
  const reports: { message: Message; messageId: string | undefined }[] = [];
  const events: EventFacts[] = [];
  const warned: [verb: string, fields: object][] = [];
  const metrics = createMetrics(quietSources);
  let isOwned = true;
  let isLeaving = false;
  let isIndexed = true;
  let leaseSeq = 8;
  let isAwaited = false;
  let isOthers = false;
  let isStored = true;
  let noted: Awaited<ReturnType<Pod["states"]["read"]>> = { kind: "none" };
  let written = 0;
  const anew: { shard: number; envelope: Envelope; messageId: string | undefined }[] = [];
  const intake: Pick<Intake, "put"> = {
    put(message, done, { messageId } = {}) {
      const answer = puts[reports.length] ?? stored;
      reports.push({ message, messageId });
      calls.push("report put");
      queueMicrotask(() => {
        calls.push(`report ${answer.kind}`);
        done(answer);
      });
    },
  };
  const recent = new RecentIds();
  const pod = {
    name: "pod-0",
    clock: { now: () => now, monotonic: () => 0 },
    random: () => 0.5,
    log: { ...silentLog, warn: (verb: string, fields: object = {}) => void warned.push([verb, fields]) },
    metrics,
    newId: () => "report-id",
    config: () => ({ manifest: { pool: "mail/p", hostname: "out.example", retry: { maxAgeMs: 5000 } } }),
    eventLog: { append: (_stamp: EventStamp, facts: EventFacts) => void events.push(facts) },
    settled: createSettled(recent, {
      settledLog: { note: () => void calls.push("noted") },
      clock: { monotonic: () => 0 },
    }),
    entries: {
      remove(
        { shard, seq, entry, subject }: Parameters<Pod["entries"]["remove"]>[0],
        done: (removed: "removed") => void,
      ) {
        calls.push(`remove ${shard}:${seq} ${entry?.id} ${subject}`);
        queueMicrotask(() => {
          calls.push("removed");
          done("removed");
        });
      },
      fetch: async () => ({ kind: isStored ? "entry" : "gone", envelope: attempted.envelope }),
      removeBody: async (id: string) => calls.push(`remove body ${id}`) > 0,
    },
    publisher: {
      store(
        { shard, envelope: mail, messageId }: { shard: number; envelope: Envelope; messageId?: string },
        done: (answer: Stored) => void,
      ) {
        const answer = puts[anew.length] ?? stored;
        anew.push({ shard, envelope: mail, messageId });
        calls.push(`stored anew: ${answer.kind}`);
        queueMicrotask(() => done(answer));
      },
    },
    states: {
      read: async () => noted,
      async write(_shard: number, seq: number, write: { record: object; leaseSeq: number }) {
        calls.push(`state of ${seq} ${JSON.stringify(write)}`);
        return states[written++] ?? { kind: "written", stateSeq: 77 };
      },
      remove: (shard: number, seq: number) => void calls.push(`remove state ${shard}:${seq}`),
    },
    scheduler: {
      entryOf: () => (isIndexed ? {} : undefined),
      settle: (handle: number) => void calls.push(`settle ${handle}`),
      defer: (handle: number, due: number, attempt: number) =>
        void calls.push(`defer ${handle} ${due - now} ${attempt}`),
      requeue: (handle: number) => void calls.push(`requeue ${handle}`),
    },
  } as unknown as Pod;
  const settlement = createSettlement({
    pod,
    intake: intake as Intake,
    owns: () => isOwned,
    isLeaving: () => isLeaving,
    leaseSeqOf: () => leaseSeq,
    isAwaited: () => isAwaited,
    isOthers: () => isOthers,
  });
  const attempted: Attempted = {
    handle: 5,
    shard: 3,
    seq: 41,
    subject: "mb.q",
    leaseSeq: 8,
    stateSeq,
    attempt: 2,
    envelope: envelope({ id: "mail-id", to: ["a@x.example", "b@x.example"], ...mail }),
    body: Buffer.from("Subject: s\r\n\r\n"),
    provider: "x",
    source: "default",
    rule: undefined,
    peer: undefined,
  };
  return {
    calls,
    reports,
    events,
    warned,
    metrics,
    recent,
    attempted,
    carryOut: (decision: Decision) => settlement.carryOut(attempted, decision, () => void calls.push("done")),
    tell: (decision: Decision) =>
      settlement.tell(attempted, decision, (isTold) => void calls.push(isTold ? "told" : "not told")),
    anew,
    lose: () => void (isOwned = false),
    /** Who had the shard meanwhile has it under way. */
    leaveToOthers: () => void (isOthers = true),
    /** Who had the shard meanwhile has deleted it, or noted an attempt of its own. */
    othersDeleted: () => void (isStored = false),
    othersNoted: (record: StateRecord) => void (noted = { kind: "state", stateSeq: 99, record }),
    handOver(): void {
      isOwned = false;
      isAwaited = true;
    },
    /** The shard's index is read again, or is gone since it is handed over. */
    reread(isHandedOver: boolean): void {
      isIndexed = false;
      isLeaving = isHandedOver;
    },
    /** The shard goes and comes back. */
    regain(): void {
      isOwned = true;
      leaseSeq = 9;
    },
  };
}

const outcome = (index: number, what: RecipientOutcome["outcome"]): RecipientOutcome => ({
  index,
  outcome: what,
  class: what === "delivered" ? "delivered" : "no-such-user",
  reply: what === "delivered" ? reply(250, "2.0.0", "ok") : reply(550, "5.1.1", "no"),
  text: "as it was said",
});
const rest = { feedback: "good", possibleDuplicate: false } as const;
const delivered: Decision = {
  ...rest,
  recipients: [outcome(0, "delivered")],
  next: { kind: "done" },
  notify: [],
};
const bounced: Decision = {
  ...rest,
  recipients: [outcome(0, "bounced")],
  next: { kind: "done" },
  notify: [0],
};
const mixed: Decision = { ...bounced, recipients: [outcome(0, "bounced"), outcome(1, "delivered")] };
const deferred: Decision = {
  ...rest,
  recipients: [outcome(1, "deferred")],
  next: { kind: "defer", due: now + 60_000, attempt: 2, open: [1], last: "450 later" },
  notify: [],
};
const record = { attempt: 2, due: now + 60_000, open: [1], idHash: idHashOf("mail-id"), last: "450 later" };
const writes = `state of 41 ${JSON.stringify({ record, leaseSeq: 8 })}`;
const removal = ["noted", "remove 3:41 mail-id mb.q", "removed", "settle 5"];

/** Lets promises run; no timer. */
type World = ReturnType<typeof world>;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function stillTimers(context: TestContext): (ms: number) => Promise<void> {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  return (ms) => {
    context.mock.timers.tick(ms);
    return turn();
  };
}

describe("an entry that is done", () => {
  test("is noted as settled, then deleted, then forgotten; its state goes last", async () => {
    const { carryOut, calls, recent, attempted } = world({ stateSeq: 60 });
    carryOut(delivered);
    assert.ok(recent.wasSettled(attempted.envelope));
    await turn();
    assert.deepEqual(calls, [...removal, "remove state 3:60", "done"]);
  });

  test("takes its own large body along, and leaves one that others share", async () => {
    for (const isBodyShared of [false, true]) {
      const { carryOut, calls } = world({ mail: { bodyChunks: 2, isBodyShared } });
      carryOut(delivered);
      await turn();
      assert.deepEqual(calls, [...removal, ...(isBodyShared ? [] : ["remove body mail-id"]), "done"]);
    }
  });

  test("that is somebody else's to change is only told of", async () => {
    const { calls, tell, events } = world();
    tell(bounced);
    await turn();
    assert.deepEqual(calls, ["report put", "report stored", "told"]);
    assert.equal(events.length, bounced.recipients.length);
    const gone = world({ puts: [refused] });
    gone.tell(bounced);
    gone.lose();
    await turn();
    assert.equal(gone.calls.at(-1), "not told");
  });

  test("that bounced is deleted only when the report is stored, which is tried again and is one and the same", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, reports } = world({ puts: [refused, stored] });
    carryOut(bounced);
    await turn();
    assert.deepEqual(calls, ["report put", "report refused"]);
    await tick(rewriteMs - 1);
    assert.equal(reports.length, 1, "not earlier");
    await tick(1);
    assert.deepEqual(calls.slice(2), ["report put", "report stored", ...removal, "done"]);
    const [{ message, messageId } = {}, again] = reports;
    assert.equal(messageId, again?.messageId);
    assert.match(messageId ?? "", /^dsn:mail-id:\w+$/);
    assert.deepEqual([message?.from, message?.to, message?.tenant], ["", ["news@acme.example"], "mail/acme"]);
    assert.match(message?.body.toString() ?? "", /Final-Recipient: rfc822; ?a@x\.example/);
  });

  test("whose report cannot be stored stays for the next owner when the shard is gone: nobody was told", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, lose, recent, attempted } = world({ puts: [refused, refused] });
    carryOut(bounced);
    lose();
    await turn();
    await tick(rewriteMs);
    assert.deepEqual(calls, ["report put", "report refused", "done"]);
    assert.equal(recent.wasSettled(attempted.envelope), false);
  });

  test("that somebody got is deleted even so, and its report goes on being tried", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, lose } = world({ puts: [refused, refused, stored] });
    carryOut(mixed);
    lose();
    await turn();
    assert.deepEqual(calls, ["report put", "report refused", ...removal, "done"]);
    await tick(rewriteMs);
    await tick(rewriteMs);
    await tick(rewriteMs);
    assert.deepEqual(calls.slice(7), ["report put", "report refused", "report put", "report stored"]);
  });
});

describe("an entry that is deferred", () => {
  test("waits from when its state is stored", async () => {
    const { carryOut, calls } = world({ stateSeq: 60 });
    carryOut(deferred);
    assert.deepEqual(calls, [writes]);
    await turn();
    assert.deepEqual(calls, [writes, "defer 5 60000 2", "done"]);
  });

  test("whose state is refused as a former owner's is left alone", async () => {
    const { carryOut, calls } = world({ states: [{ kind: "fenced" }] });
    carryOut(deferred);
    await turn();
    assert.deepEqual(calls, [writes, "done"]);
  });

  test("whose shard went and came back meanwhile is stored anew with who is still to get it, and the shard is not given up", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, anew, regain, recent, attempted } = world({
      states: [{ kind: "fenced" }],
      stateSeq: 60,
      puts: [refused],
    });
    regain();
    carryOut({ ...deferred, next: { ...deferred.next, open: [1] } as Decision["next"] });
    await turn();
    assert.deepEqual(calls.slice(1), ["stored anew: refused"], "it goes on trying");
    await tick(rewriteMs);
    const gone = ["noted", "remove 3:41 mail-id mb.q", "removed", "remove state 3:60"];
    assert.deepEqual(calls.slice(2), ["stored anew: stored", ...gone]);
    await tick(rewriteMs);
    assert.equal(calls.at(-1), "done", "a replica that lags may show the old one until then");
    const { shard, envelope: mail, messageId } = anew[1] ?? assert.fail();
    assert.match(`${shard} ${messageId}`, /^3 mv:3:41:\w+$/);
    assert.equal(anew[0]?.messageId, messageId, "the same each time");
    assert.deepEqual([mail.to, mail.attempt, mail.due], [["b@x.example"], 2, now + 60_000]);
    assert.ok(recent.wasSettled(attempted.envelope), "its delete may be forgotten");
    assert.equal(recent.wasSettled(mail), false);
  });

  test("whose shard was read again meanwhile is stored anew: the index has it as one that was never attempted", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, anew, reread } = world();
    reread(false);
    carryOut(deferred);
    await turn();
    await tick(rewriteMs);
    const gone = ["noted", "remove 3:41 mail-id mb.q", "removed", "remove state 3:77", "done"];
    assert.deepEqual(calls, [writes, "stored anew: stored", ...gone]);
    assert.deepEqual(anew[0]?.envelope.to, ["b@x.example"]);
    const leaving = world();
    leaving.reread(true);
    leaving.carryOut(deferred);
    await turn();
    assert.deepEqual(
      [leaving.anew.length, leaving.calls.at(-1)],
      [0, "done"],
      "the next owner reads its state",
    );
  });

  test("that another owner has settled in between is not stored again", async () => {
    const { carryOut, calls, anew, regain, recent, attempted } = world({ states: [{ kind: "fenced" }] });
    regain();
    recent.settled(attempted.envelope, 0);
    carryOut(deferred);
    await turn();
    assert.deepEqual([anew.length, calls.at(-1)], [0, "done"]);
  });

  test("and that is stored anew twice, since its pod ended before the old one was deleted, is named by who is in it each time", async () => {
    const names: (string | undefined)[] = [];
    for (const open of [[0], [1]]) {
      const { carryOut, anew, regain } = world({ states: [{ kind: "fenced" }] });
      regain();
      carryOut({ ...deferred, next: { ...deferred.next, open } as Decision["next"] });
      await turn();
      names.push(anew[0]?.messageId);
    }
    assert.notEqual(names[0], names[1], "else the second would be taken for the first, and lost");
  });

  test("whose shard came back meanwhile and that nobody got yet is stored anew, and is no repeat of itself", async () => {
    const { carryOut, anew, regain, recent } = world({ states: [{ kind: "fenced" }] });
    regain();
    carryOut({ ...deferred, next: { ...deferred.next, open: [0, 1] } as Decision["next"] });
    await turn();
    assert.equal(recent.wasSettled(anew[0]?.envelope ?? assert.fail()), false);
  });

  for (const [what, meanwhile] of [
    ["has deleted it", (world: World) => world.othersDeleted()],
    [
      "has tried it as well",
      (world: World) => world.othersNoted({ attempt: 9, due: 9, open: [0], idHash: 1, last: "", started: 0 }),
    ],
  ] as const)
    test(`whose shard came back meanwhile from somebody who ${what} is left alone`, async () => {
      const one = world({ states: [{ kind: "fenced" }] });
      one.regain();
      meanwhile(one);
      one.carryOut(deferred);
      await turn();
      assert.deepEqual(one.anew, []);
      assert.equal(one.calls.at(-1), "done");
    });

  test("whose shard came back meanwhile from somebody who still has it under way is left alone", async () => {
    const { carryOut, calls, anew, regain, leaveToOthers } = world({ states: [{ kind: "fenced" }] });
    regain();
    leaveToOthers();
    carryOut(deferred);
    await turn();
    assert.deepEqual(anew, []);
    assert.equal(calls.at(-1), "done");
    assert.ok(!calls.some((call) => call.startsWith("remove")));
  });

  test("whose shard is given up waits until it is ours again, when some have it: all would be sent to again", async (context) => {
    const tick = stillTimers(context);
    const fenced = { kind: "fenced" } as const;
    const partly = { ...deferred, recipients: [outcome(0, "delivered"), outcome(1, "deferred")] };
    const { carryOut, calls, anew, lose, regain } = world({ states: [fenced, fenced, fenced] });
    carryOut(partly);
    await turn();
    lose();
    await tick(rewriteMs);
    assert.equal(anew.length, 0);
    regain();
    await tick(rewriteMs);
    assert.deepEqual(anew[0]?.envelope.to, ["b@x.example"]);
    await tick(rewriteMs);
    assert.equal(calls.at(-1), "done");

    const other = world({ states: Array.from({ length: 7 }, () => fenced) });
    other.carryOut(partly);
    other.lose();
    await turn();
    for (let wait = 0; wait < 6; wait++) await tick(rewriteMs);
    assert.deepEqual([other.calls.at(-1), other.anew], ["done", []], "for twelve seconds");
  });

  test("of a shard that was handed over is stored anew once somebody has it: the next owner would send to all", async (context) => {
    const tick = stillTimers(context);
    const { carryOut, calls, anew, handOver } = world({ states: [{ kind: "fenced" }] });
    handOver();
    const partly = [outcome(0, "delivered"), outcome(1, "deferred")];
    carryOut({ ...deferred, recipients: partly, next: { ...deferred.next, open: [1] } as Decision["next"] });
    await turn();
    await tick(rewriteMs);
    assert.deepEqual(calls.slice(-5), [
      "stored anew: stored",
      "noted",
      "remove 3:41 mail-id mb.q",
      "removed",
      "done",
    ]);
    assert.deepEqual(anew[0]?.envelope.to, ["b@x.example"]);
  });

  test("whose state could not be stored before its shard went is stored anew as well, now or when it is ours again", async (context) => {
    const tick = stillTimers(context);
    const away: Written = { kind: "unavailable", text: "away" };
    const partly = { ...deferred, recipients: [outcome(0, "delivered"), outcome(1, "deferred")] };
    const handed = world({ states: [away] });
    handed.handOver();
    handed.carryOut(partly);
    await turn();
    assert.deepEqual(handed.anew[0]?.envelope.to, ["b@x.example"]);
    const cut = world({ states: [away, { kind: "fenced" }] });
    cut.lose();
    cut.carryOut(partly);
    await turn();
    cut.regain();
    await tick(rewriteMs);
    assert.deepEqual(cut.anew[0]?.envelope.to, ["b@x.example"]);
  });

  test("of a shard that was handed over is left to the next owner when nobody has it", async () => {
    const { carryOut, calls, handOver } = world({ states: [{ kind: "fenced" }] });
    handOver();
    carryOut(deferred);
    await turn();
    assert.deepEqual(calls, [writes, "done"]);
  });

  test("whose state cannot be stored is not tried early: the state is written again, as long as the shard is ours", async (context) => {
    const tick = stillTimers(context);
    const away: Written = { kind: "unavailable", text: "away" };
    const { carryOut, calls, warned, lose } = world({ states: [away, away, away] });
    carryOut(deferred);
    await turn();
    await tick(rewriteMs - 1);
    assert.deepEqual(calls, [writes]);
    assert.deepEqual(warned, [["state not stored", { shard: 3, seq: 41, id: "mail-id", reason: "away" }]]);
    await tick(1);
    assert.deepEqual(calls, [writes, writes]);
    lose();
    await tick(rewriteMs);
    await tick(rewriteMs);
    assert.deepEqual(calls, [writes, writes, writes, "done"]);
  });

  test("tells of who is given up before it notes that they are", async () => {
    const { carryOut, calls } = world();
    carryOut({ ...deferred, recipients: [outcome(0, "bounced"), outcome(1, "deferred")], notify: [0] });
    await turn();
    assert.deepEqual(calls, ["report put", "report stored", writes, "defer 5 60000 2", "done"]);
  });
});

test("an entry of which nothing was tried goes back to the head of its lane, and nothing is written", () => {
  const { carryOut, calls, events } = world();
  carryOut({ ...rest, recipients: [], next: { kind: "requeue", reason: "fenced", text: "" }, notify: [] });
  assert.deepEqual(calls, ["requeue 5", "done"]);
  assert.equal(events.length, 0);
});

test("each recipient has its event and its count, also beside others that are deferred", async () => {
  const { carryOut, events, metrics } = world();
  carryOut({ ...deferred, recipients: [outcome(0, "delivered"), outcome(1, "deferred")] });
  const told = events.map(({ type, to, code, nextAttempt, attempt }) => [
    type,
    to,
    code,
    nextAttempt,
    attempt,
  ]);
  assert.deepEqual(told, [
    ["delivered", ["a@x.example"], 250, undefined, 2],
    ["deferred", ["b@x.example"], 550, now + 60_000, 2],
  ]);
  const sum = async (counter: { get(): Promise<{ values: { value: number }[] }> }): Promise<number> =>
    (await counter.get()).values.reduce((all, { value }) => all + value, 0);
  assert.deepEqual([await sum(metrics.recipients.counter), await sum(metrics.deferrals.counter)], [1, 1]);
});
