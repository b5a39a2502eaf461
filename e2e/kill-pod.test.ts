/** kill -9 of a pod in the middle of a load: what got a 250 arrives, and only what was open at that moment may arrive twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, assertOnlyOpenDoubled } from "./kit/audit.ts";
import { shardCount, startScene } from "./kit/scene.ts";

const messages = 20_000;

test("kill -9 of a pod in the middle of a load: none lost, doubles only of what was open, the survivor takes over", async (t) => {
  await using scene = await startScene({ pods: 2 });
  // So that there is something open whenever the pod dies.
  scene.sink.delay(20);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const before = await scene.status(0);
  assert.equal(before?.shards.length, shardCount / 2);
  const killedAt = performance.now();
  await scene.local.kill(0, { awaitRestart: false });
  await until(
    "the survivor to own all shards",
    async () => (await scene.status(1))?.shards.length === shardCount,
  );
  const takeOverMs = performance.now() - killedAt;
  await until("the pod to be started again", async () => (await scene.status(0)) !== undefined, 30_000);
  await scene.shared();
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  t.diagnostic(
    `in flight at the kill ${before?.inFlight}; all shards taken over after ${Math.round(takeOverMs)} ms`,
  );
  assertOnlyOpenDoubled(t, audit, { at: killedAt, bound: scene.mostOpen });
  const counted = sumOf(await scrape(scene.local), "mailboat_possible_duplicates_total");
  t.diagnostic(`counted as open at the kill: ${counted}`);
  assert.ok(counted > 0 && counted <= scene.mostOpen, `${counted} counted as open`);
  assert.equal(audit.stray.length, 0);
  assert.ok(takeOverMs < 2000, `taken over after ${takeOverMs} ms (decisions.md 15)`);
});
