import assert from "node:assert/strict";
import { test } from "node:test";
import { createPublisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { deleteMessage } from "#mta-pod/spool/stream-state.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { envelope, startTestSpool } from "#test/kit/spool.ts";

test("a move there and back is stored each time; under the entry's own id its deleted self would swallow it", async () => {
  await using nats = await startTestNats();
  await using spool = await startTestSpool(nats.url);
  const publisher = createPublisher(spool);
  const store = (shard: number, messageId?: string): Promise<Stored> =>
    new Promise((resolve) => {
      const entry = { shard, envelope: envelope({ size: 1 }), body: Buffer.from("x") };
      publisher.store({ ...entry, messageId, by: "pod" }, resolve);
    });
  const removed = async (shard: number, stored: Stored): Promise<number> => {
    assert.ok(stored.kind === "stored" && !stored.duplicate, JSON.stringify(stored));
    assert.equal(await deleteMessage(spool, spool.names.shardStream(shard), stored.seq), true);
    return stored.seq;
  };
  const first = await removed(0, await store(0));
  const second = await removed(1, await store(1, `mv:0:${first}`));
  const back = await store(0, `mv:1:${second}`);
  assert.ok(back.kind === "stored" && !back.duplicate);
  const swallowed = await store(0);
  assert.ok(swallowed.kind === "stored" && swallowed.duplicate, "which is why a move has an id of its own");
  await publisher.close();
});
