/** A pod is frozen past its leases and wakes again: its shards have another owner then, and it must know before it sends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, assertOnlyOpenDoubled } from "./kit/audit.ts";
import { shardCount, startScene } from "./kit/scene.ts";

const messages = 12_000;
const frozenMs = 20_000;
/** Leases run out 15 s after the last renewal that another pod saw. */
const takeOverMs = 19_000;

test("a pod frozen for 20 s: the other takes over, the frozen one sends nothing when it wakes, none lost", async (t) => {
  await using scene = await startScene({ pods: 2 });
  // A backlog in the frozen pod's index: all that it would send on waking would come twice.
  scene.sink.delay(200);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const before = await scene.status(0);
  const pid = await scene.local.podPid(0);
  assert.ok(pid !== undefined);
  const frozenAt = performance.now();
  process.kill(pid, "SIGSTOP");
  try {
    await until(
      "the other pod to own all shards",
      async () => (await scene.status(1))?.shards.length === shardCount,
      takeOverMs,
    );
    t.diagnostic(`taken over ${Math.round(performance.now() - frozenAt)} ms after the freeze`);
    scene.sink.delay(0);
    await until("20 s to be over", () => performance.now() - frozenAt > frozenMs, frozenMs);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  const wokenAt = performance.now();
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  t.diagnostic(`queued in the pod at the freeze: ${before?.queued}, in flight ${before?.inFlight}`);
  assert.ok(Number(before?.queued) > scene.mostOpen, "the scenario needs a backlog");
  assertOnlyOpenDoubled(t, audit, { at: frozenAt, bound: scene.mostOpen });
  assert.deepEqual(scene.sink.wokenMails, [], "nothing is begun on a connection kept through the freeze");
  assert.deepEqual(
    audit.doubled.filter(({ lastAt }) => lastAt >= wokenAt),
    [],
    "the frozen pod does not send what another has sent",
  );
  assert.equal(await scene.local.podPid(0), pid, "it lives on");
  await scene.shared();
});
