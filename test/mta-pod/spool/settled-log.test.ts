import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import { createSettledLog, type SettledLog } from "#mta-pod/spool/settled-log.ts";
import { ensureStreams, streamConfigs } from "#mta-pod/spool/streams.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

type Pair = readonly [number, number];

function pairs(count: number, from = 0): Pair[] {
  return Array.from({ length: count }, (_, index) => [2 ** 52 + from + index, 2 ** 40 + index]);
}

async function written(log: SettledLog, noted: readonly Pair[]): Promise<void> {
  for (const [one, two] of noted) log.note(one, two);
  await log.close();
}

interface Reader {
  readonly log: SettledLog;
  readonly heard: Pair[];
  readonly old: Pair[];
}

function read(spool: TestSpool, windowMs = 60_000, longestWaitMs = 15_000): Reader {
  const heard: Pair[] = [];
  const old: Pair[] = [];
  const log = createSettledLog(spool, {
    heard: (one, two) => void heard.push([one, two]),
    heardOld: (one, two) => void old.push([one, two]),
    windowMs,
    longestWaitMs,
  });
  return { log, heard, old };
}

describe("createSettledLog()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("tells who starts later what was settled, whole and in order, before caughtUp() resolves", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/later" });
    // More than one message holds.
    const noted = pairs(10_000);
    await written(read(spool).log, noted);
    const { log, heard } = read(spool);
    await log.caughtUp();
    assert.deepEqual(heard, noted);
    await log.close();
  });

  test("tells everybody who runs, the noting pod included", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/live" });
    await using other = await startTestSpool(nats.url, { pool: "t/live", pod: "pod-1" });
    const [here, there] = [read(spool), read(other)];
    await Promise.all([here.log.caughtUp(), there.log.caughtUp()]);
    const [pair] = pairs(1);
    assert.ok(pair !== undefined);
    here.log.note(...pair);
    await eventually("both to have heard", () => here.heard.length === 1 && there.heard.length === 1);
    assert.deepEqual([here.heard, there.heard], [[pair], [pair]]);
    await Promise.all([here.log.close(), there.log.close()]);
  });

  test("a pod that starts reads no further back from the last note than its window", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/window" });
    await written(read(spool).log, pairs(3));
    await written(read(spool).log, pairs(1, 50));
    const started = performance.now();
    const { log, heard } = read(spool, 0);
    await log.caughtUp();
    assert.deepEqual(heard, pairs(1, 50));
    assert.ok(performance.now() - started < 4_000, "nothing is waited for");
    const later = pairs(1, 100);
    for (const [one, two] of later) log.note(one, two);
    await eventually("what comes later", () => heard.length === 2);
    assert.deepEqual(heard.slice(1), later);
    await log.close();
  });

  test("what was settled before the window is told after it, and until then nothing older is covered", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/old" });
    const first = systemClock.now();
    await written(read(spool).log, pairs(3));
    await written(read(spool).log, pairs(1, 50));
    await using other = await startTestSpool(nats.url, { pool: "t/old" });
    const { log, heard, old } = read(other, 0);
    assert.equal(log.covers(first - 60_000), false);
    assert.equal(log.covers(systemClock.now() + 1), true, "what comes after the start is new");
    await eventually("all of it", () => log.covers(first - 60_000));
    assert.deepEqual([old, heard], [pairs(3), pairs(1, 50)]);
    await log.close();
  });

  test("a pool that settled nothing yet covers everything", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/none" });
    const { log, old } = read(spool);
    await eventually("its look at the stream", () => log.covers(0));
    assert.deepEqual(old, []);
    await log.close();
  });

  test("a pool that was away for a day knows what it settled last", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/day" });
    const noted = pairs(3);
    await written(read(spool).log, noted);
    const clock = { ...systemClock, now: () => systemClock.now() + 86_400_000 };
    await using tomorrow = await startTestSpool(nats.url, { pool: "t/day", clock });
    const { log, heard } = read(tomorrow);
    await log.caughtUp();
    assert.deepEqual(heard, noted);
    await log.close();
  });

  test("goes on after a kill -9 of the server, and nothing is heard that was not noted", async () => {
    await using own = await startTestNats();
    await using spool = await startTestSpool(own.url);
    const { log, heard } = read(spool);
    const before = pairs(100);
    for (const [one, two] of before) log.note(one, two);
    await eventually("the first to be heard", () => heard.length === before.length);
    await own.kill();
    const during = pairs(100, 1_000);
    for (const [one, two] of during) log.note(one, two);
    await own.restart();
    await eventually("what was noted meanwhile", () => heard.length >= 200);
    assert.deepEqual(new Set(heard.map(String)), new Set([...before, ...during].map(String)));
    await log.close();
  });

  test("waits for a server that is away so long at most, and says so", async () => {
    await using own = await startTestNats();
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (text: string) => void warnings.push(text) };
    await using spool = await startTestSpool(own.url, { log });
    const settled = read(spool, 60_000, 2_000);
    await settled.log.caughtUp();
    assert.equal(warnings.length, 0, warnings.join("; "));
    await own.kill();
    const started = performance.now();
    await settled.log.caughtUp();
    assert.ok(performance.now() - started < 5_000);
    assert.ok(warnings.includes("what was settled lately is not known"), warnings.join("; "));
    await own.restart();
    await settled.log.close();
  });

  test("bytes that are no notes end nothing", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bytes" });
    const { log, heard } = read(spool);
    await log.caughtUp();
    for (const payload of ["", "short", "x".repeat(17)])
      spool.nc.publish(spool.names.settledSubject, payload);
    const [pair] = pairs(1);
    assert.ok(pair !== undefined);
    log.note(...pair);
    await eventually("the note behind them", () => heard.some((one) => String(one) === String(pair)));
    await log.close();
  });

  test("the event stream of an older release takes notes once it was looked at", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/older" }, { makeStreams: false });
    const events = streamConfigs(spool.names, spool.options).find(
      ({ name }) => name === spool.names.eventStream,
    );
    assert.ok(events !== undefined);
    const older = { ...events, subjects: events.subjects.slice(0, 1) };
    await callApi(spool, { subject: `STREAM.CREATE.${events.name}`, body: older });
    await ensureStreams(spool);
    const { log, heard } = read(spool);
    for (const [one, two] of pairs(1)) log.note(one, two);
    await eventually("the note", () => heard.length === 1);
    await log.close();
  });
});
