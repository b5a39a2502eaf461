/** kill -9 of the runner, every pod and nats-server in the middle of a load, and a start on what they left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, assertOnlyOpenDoubled } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

const messages = 20_000;

test("kill -9 of everything in the middle of a load, then a start on the same state: none lost, doubles only of what was open", async (t) => {
  await using scene = await startScene({ pods: 2 });
  // A backlog beside what is open: the load is faster than this.
  scene.sink.delay(200);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const before = await scene.statuses();
  const killedAt = performance.now();
  await scene.local.killAll();
  scene.sink.delay(0);
  const accepted = load.accepted.size;
  await scene.restart();
  await until("mail to be accepted again", () => load.accepted.size > accepted + 100, 30_000);
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  const queued = before.reduce((sum, one) => sum + one.queued, 0);
  t.diagnostic(`queued at the kill: ${queued}; connections lost: ${load.lostConnections()}`);
  assert.ok(queued > scene.mostOpen, "the scenario needs a backlog");
  assertOnlyOpenDoubled(t, audit, { at: killedAt, bound: scene.mostOpen });
});
