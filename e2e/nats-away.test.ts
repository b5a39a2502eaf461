/** nats-server stops answering for a while without dying, and mail waits; for a minute: `minutes.test.ts`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

test("NATS away for 5 s: mail is accepted in the same session once it is back", async (t) => {
  await using scene = await startScene({ pods: 2 });
  const load = scene.load({ messages: 6000 });
  await until("a third to be accepted", () => load.accepted.size > 2000, 60_000);
  const { nats } = (await scene.local.read()).pids;
  assert.ok(nats !== undefined);
  process.kill(nats, "SIGSTOP");
  try {
    await delay(5000);
  } finally {
    process.kill(nats, "SIGCONT");
  }
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  t.diagnostic(`longest wait for a 250: ${Math.round(load.longestMs())} ms`);
  assert.equal(load.refused.length, 0);
  assert.equal(load.lostConnections(), 0);
  assert.ok(load.longestMs() > 4000 && load.longestMs() < 15_000);
  assert.equal(audit.doubled.length, 0);
});
