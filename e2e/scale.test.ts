/** Pods of a pool come and go under load, by an edit of its replicas (SIGTERM) and by kill -9; how long a shard is nobody's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { longestGap } from "./kit/gaps.ts";
import { startScene } from "./kit/scene.ts";

test("1 → 4 → 1 pods under load by an edit of replicas: nothing lost, nothing doubled, hardly a pause", async (t) => {
  await using scene = await startScene({ pods: 1 });
  const load = scene.load({ messages: Infinity, perSecond: 150, connections: 16, bytes: 2000 });
  const from = performance.now();
  const scaled = async (pods: number): Promise<void> => {
    const at = performance.now();
    await scene.scale(pods);
    await scene.shared();
    const arrivals = [...scene.sink.arrivals.values()].map(({ firstAt }) => firstAt);
    const gap = longestGap(arrivals, { from: at, to: performance.now() });
    t.diagnostic(
      `${pods} pods own all ${Math.round(performance.now() - at)} ms after the edit; longest pause ${Math.round(gap)} ms`,
    );
  };
  try {
    await until("mail to flow", () => load.accepted.size > 300, 30_000);
    await scaled(4);
    await scaled(1);
  } finally {
    load.stop();
  }
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  assert.equal(audit.doubled.length, 0);
  const arrivals = [...scene.sink.arrivals.values()].map(({ firstAt }) => firstAt);
  const end = Math.max(...load.accepted.values());
  assert.ok(longestGap(arrivals, { from, to: end }) < 5000, "mail goes on meanwhile");
});
