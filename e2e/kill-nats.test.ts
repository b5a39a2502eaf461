/** kill -9 of nats-server in the middle of a load: clients wait or are told to come back, and nothing accepted is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, assertOnlyOpenDoubled } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

const messages = 20_000;
/** A publish is repeated for 60 s before the client is told to come back. */
const answerMs = 65_000;

test("kill -9 of nats-server in the middle of a load: clients get 250 or 4xx in time, nothing accepted is lost", async (t) => {
  await using scene = await startScene({ pods: 2 });
  scene.sink.delay(20);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const { pids } = await scene.local.read();
  const killedAt = performance.now();
  await scene.local.killNats();
  await until(
    "nats-server to be started again",
    async () => (await scene.local.read()).pids.nats !== pids.nats,
    30_000,
  );
  const accepted = load.accepted.size;
  await until("mail to be accepted again", () => load.accepted.size > accepted + 100, 30_000);
  t.diagnostic(`mail accepted again ${Math.round(performance.now() - killedAt)} ms after the kill`);
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  t.diagnostic(`longest wait for a 250: ${Math.round(load.longestMs())} ms`);
  assertOnlyOpenDoubled(t, audit, { at: killedAt, bound: scene.mostOpen });
  assert.ok(load.longestMs() < answerMs);
  assert.deepEqual(
    load.refused.filter(({ ms }) => ms > answerMs),
    [],
  );
  assert.equal(load.lostConnections(), 0, "the sessions outlive the queue's restart");
  const now = await scene.local.read();
  assert.deepEqual(now.pids.pods, pids.pods, "the pods live on");
});
