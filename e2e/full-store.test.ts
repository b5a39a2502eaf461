/** A store that is full: clients are told so at once, what was accepted leaves, and then there is room again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

const shardBytes = 16_777_216;
const quickMs = 1000;

test("a full store: 452 4.3.1 quickly, nothing lost, accepted again once it has drained", async (t) => {
  await using scene = await startScene({ pods: 2, shards: 2, queue: { maxBytesPerShard: shardBytes } });
  scene.sink.hold();
  const load = scene.load({ messages: Infinity });
  await until("both shards to be full", () => load.refused.length > 200, 60_000);
  const whenFull = load.accepted.size;
  assert.ok(whenFull * 10_000 > shardBytes * 0.8, "accepted up to 80 % of a shard at least");
  assert.ok(whenFull * 10_000 < 2 * shardBytes, "and never beyond both");
  scene.sink.release();
  await until("mail to be accepted again", () => load.accepted.size > whenFull + 500, 30_000);
  load.stop();
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  const longest = Math.max(...load.refused.map(({ ms }) => ms));
  t.diagnostic(
    `full at ${whenFull} messages; longest wait for a refusal ${Math.round(longest)} ms: ${load.refused[0]?.text}`,
  );
  assert.deepEqual([...new Set(load.refused.map(({ text }) => text.slice(0, 9)))], ["452 4.3.1"]);
  assert.ok(longest < quickMs, `refused after ${longest} ms`);
  assert.equal(audit.doubled.length, 0);
  assert.equal(audit.stray.length, 0);
  assert.equal(load.lostConnections(), 0);
});
