/** What mode Sink took: listed without its messages, found by id, and nothing where nothing was taken. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { createSunkStore } from "#mta-pod/spool/sunk.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const messageBytes = 100_000;

function sunk(index: number) {
  const to = [`someone${index}@example.net`];
  const sender = {
    tenant: "mail/acme",
    from: "news@acme.example",
    source: "default",
    ehlo: "out.example.net",
  };
  return { id: `id-${index}`, at: index, to, site: "example.net", ...sender };
}

test("list() gives the last ones, newest first, and reads none but the last for it", async () => {
  await using nats = await startTestNats();
  await using own = await startTestSpool(nats.url, {}, { makeStreams: false });
  let answeredBytes = 0;
  const spool: Spool = {
    ...own,
    async ask(question) {
      const answer = await own.ask(question);
      if (answer.kind === "answer") answeredBytes += answer.message.data.length;
      return answer;
    },
  };
  const store = createSunkStore(spool);
  try {
    assert.deepEqual(await store.list(5), [], "no stream yet");
    for (let index = 0; index < 20; index++) store.put(sunk(index), [Buffer.alloc(messageBytes, "x")]);
    await until("the last one to be kept", async () => (await store.find("id-19")) !== undefined);
    answeredBytes = 0;
    const listed = await store.list(10);
    assert.deepEqual(
      listed.map(({ id, size }) => [id, size]),
      Array.from({ length: 10 }, (_, index) => [`id-${19 - index}`, messageBytes]),
    );
    assert.ok(answeredBytes < 2 * messageBytes, "the last one at most");
    assert.equal((await store.list(1000)).length, 20);
    assert.equal((await store.find("id-3"))?.message.length, messageBytes);
  } finally {
    store.close();
  }
});
