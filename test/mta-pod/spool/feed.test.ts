import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openFeed } from "#mta-pod/spool/feed.ts";
import { lastSequence } from "#mta-pod/spool/stream-state.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool } from "#test/kit/spool.ts";

describe("openFeed()", () => {
  test("is not caught up before its target has come by: the replica it reads from may lag behind the leader", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url);
    const stream = spool.names.shardStream(0);
    const subject = spool.names.entrySubject(0, "mail/acme", "a.example");
    const publish = (payload: string): Promise<unknown> =>
      spool.ask({ subject, payload, timeoutMs: 2000 }).then(() => undefined);
    await publish("one");
    const got: string[] = [];
    let caughtUpAfter: number | undefined;
    const feed = openFeed({
      spool,
      stream,
      filter: spool.names.entryFilter(0),
      start: { kind: "sequence", seq: 1, target: 3 },
      headersOnly: false,
      handlers: {
        onMessage: (_seq, read) => void got.push(read().string()),
        onCaughtUp: () => void (caughtUpAfter ??= got.length),
      },
    });
    await eventually("the first", () => got.length === 1);
    await publish("two");
    await eventually("the second", () => got.length === 2);
    assert.equal(caughtUpAfter, undefined);
    await publish("three");
    await eventually("the end", () => caughtUpAfter !== undefined);
    assert.equal(caughtUpAfter, 3);
    feed.close();
  });

  test("after an interruption goes on only when it may, as long as that takes", async () => {
    await using nats = await startTestNats();
    await using spool = await startTestSpool(nats.url);
    const subject = spool.names.entrySubject(0, "mail/acme", "a.example");
    const publish = (payload: string): Promise<unknown> => spool.ask({ subject, payload, timeoutMs: 2000 });
    await publish("one");
    const got: string[] = [];
    const may = Promise.withResolvers<void>();
    let asked = 0;
    const feed = openFeed({
      spool,
      stream: spool.names.shardStream(0),
      filter: spool.names.entryFilter(0),
      start: { kind: "sequence", seq: 1 },
      headersOnly: false,
      beforeRestart() {
        asked++;
        return may.promise;
      },
      handlers: { onMessage: (_seq, read) => void got.push(read().string()), onCaughtUp: () => {} },
    });
    await eventually("the first", () => got.length === 1);
    assert.equal(asked, 0);
    await nats.restart();
    await eventually("the question", () => asked > 0);
    await publish("two");
    assert.deepEqual(got, ["one"]);
    may.resolve();
    await eventually("the second", () => got.length === 2);
    feed.close();
  });
});

test("lastSequence() tells the last sequence on subjects with wildcards, 0 when there is none", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const { names } = spool;
  const last = (filter: string): Promise<number | undefined> =>
    lastSequence(spool, names.shardStream(0), filter);
  assert.equal(await last(names.entryFilter(0)), 0);
  for (const site of ["a.example", "b.example"])
    await spool.ask({ subject: names.entrySubject(0, "mail/acme", site), payload: "x", timeoutMs: 2000 });
  await spool.ask({ subject: names.stateSubject(0, 1), payload: "x", timeoutMs: 2000 });
  assert.equal(await last(names.entryFilter(0)), 2);
  assert.equal(await last(names.stateFilter(0)), 3);
});
