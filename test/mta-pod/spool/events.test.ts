import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { EventRecord } from "#crds/wire/event.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import { createEventLog, type EventLog } from "#mta-pod/spool/events.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

function event(id: string, type: EventRecord["type"], fields: Partial<EventRecord> = {}): EventRecord {
  return { time: Date.now(), id, type, tenant: "mail/acme", pool: "mail/test", pod: "pod-0", ...fields };
}

function append(log: EventLog, { time, pool, pod, ...facts }: EventRecord): void {
  log.append({ time, pool, pod }, facts);
}

async function batches(spool: TestSpool): Promise<number> {
  const info = await callApi(spool, { subject: `STREAM.INFO.${spool.names.eventStream}` });
  return info.kind === "ok" ? (info.value["state"] as { messages: number }).messages : -1;
}

describe("createEventLog()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("finds a message's events in order, until every recipient is settled", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/find" });
    const log = createEventLog(spool);
    const to = ["a@example.net", "b@example.net"];
    const own = [
      event("m1", "received", { to }),
      event("m1", "deferred", { to: ["b@example.net"], code: 450, text: "lâter\nplease" }),
      event("m1", "delivered", { to: ["a@example.net"] }),
      event("m1", "bounced", { to: ["b@example.net"], code: 550 }),
    ];
    for (const one of own) {
      append(log, one);
      for (let other = 0; other < 50; other++)
        append(log, event(`x${other}`, "delivered", { text: "about m1" }));
      await log.flush();
    }
    append(log, event("m1", "feedback"));
    await log.flush();
    const found = await log.find("m1", { fromMs: Date.now() - 1_000, boundMs: 5_000 });
    assert.deepEqual(found, { events: own, until: "settled" });
    const none = await log.find("m2", { fromMs: Date.now() - 1_000, boundMs: 5_000 });
    assert.deepEqual(none, { events: [], until: "end" });
    await log.close();
  });

  test("tells events of several pods by time, whichever was stored first", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/order" });
    const log = createEventLog(spool);
    const to = ["a@example.net"];
    const time = Date.now();
    // What the sending pod stored before the receiving one; its clock is 2 ms behind.
    const attempted = event("m1", "deferred", { to, time: time - 2 });
    const received = event("m1", "received", { to, time, pod: "pod-1" });
    const delivered = event("m1", "delivered", { to, time: time + 5 });
    for (const one of [delivered, attempted, received]) {
      append(log, one);
      await log.flush();
    }
    const found = await log.find("m1", { fromMs: time - 1_000, boundMs: 5_000 });
    assert.deepEqual(found, { events: [received, attempted, delivered], until: "settled" });
    await log.close();
  });

  test("finds nothing in an empty log, at once", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/empty" });
    const log = createEventLog(spool);
    const began = performance.now();
    const found = await log.find("m1", { fromMs: Date.now(), boundMs: 5_000 });
    assert.deepEqual(found, { events: [], until: "end" });
    assert.ok(performance.now() - began < 2_000);
  });

  test("leaves no consumer behind", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/consumer" });
    const log = createEventLog(spool);
    append(log, event("m1", "received", { to: ["a@example.net"] }));
    await log.flush();
    assert.equal((await log.find("m1", { fromMs: Date.now(), boundMs: 5_000 })).events.length, 1);
    const later = await log.find("m1", { fromMs: Date.now() + 3_600_000, boundMs: 5_000 });
    assert.deepEqual(later, { events: [], until: "end" });
    await eventually("no consumer", async () => {
      const list = await callApi(spool, { subject: `CONSUMER.NAMES.${spool.names.eventStream}` });
      return list.kind === "ok" && list.value["total"] === 0;
    });
  });

  test("gathers a batch until its time or its size is reached", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/batch" });
    const log = createEventLog(spool, { lingerMs: 20, maxBatchBytes: 10_000 });
    const time = 1_700_000_000_000;
    for (let index = 0; index < 10; index++) append(log, event("m1", "attempted", { time }));
    await eventually("the linger to end", async () => (await batches(spool)) === 1);
    const text = "t".repeat(1_000);
    for (let index = 0; index < 70; index++) append(log, event("m1", "attempted", { time, text }));
    await log.flush();
    assert.equal(await batches(spool), 1 + 9);
    append(log, event("m1", "attempted", { time }));
    append(log, event("m1", "attempted", { time: time + 60_000 }));
    await log.flush();
    assert.equal(await batches(spool), 1 + 9 + 2, "one subject per minute");
    assert.equal(log.dropped(), 0);
    await log.close();
  });
});

test("createEventLog() drops the oldest and counts them while the server is away", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const log = createEventLog(spool, { maxBatchBytes: 2_000, maxBufferedBytes: 20_000 });
  await nats.kill();
  for (let index = 0; index < 1_000; index++) append(log, event(`m${index}`, "received"));
  assert.ok(log.dropped() > 800 && log.dropped() < 960, `${log.dropped()} dropped`);
  await nats.restart();
  await log.flush();
  const found = await log.find("m999", { fromMs: Date.now() - 1_000, boundMs: 5_000 });
  assert.equal(found.events.length, 1);
  await log.close();
});
