/** Pods of a pool come and go under load, by an edit of its replicas (SIGTERM) and by kill -9; how long a shard is nobody's. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { longestGap } from "./kit/gaps.ts";
import { type Scene, shardCount, startScene } from "./kit/scene.ts";

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

/** The longest time in which one of the sites got nothing, ms. */
function longestSiteGap({ sink, domains }: Scene, window: { from: number; to: number }): number {
  const bySite = new Map<number, number[]>();
  for (const [id, { firstAt }] of sink.arrivals) {
    const site = Number(/\d+/.exec(id)?.[0]) % domains.length;
    const times = bySite.get(site) ?? [];
    times.push(firstAt);
    bySite.set(site, times);
  }
  return Math.max(...[...bySite.values()].map((times) => longestGap(times, window)));
}

for (const [who, boundMs] of [
  ["which the runner sees", 10_000],
  ["which nobody sees", 40_000],
] as const)
  test(`1 → 4 → 1 pods under load, down by kill -9 of three at once, ${who}: nothing lost`, async (t) => {
    await using scene = await startScene({ pods: 1 });
    const load = scene.load({ messages: Infinity, perSecond: 150, connections: 16, bytes: 2000 });
    const { runner } = (await scene.local.read()).pids;
    try {
      await until("mail to flow", () => load.accepted.size > 300, 60_000);
      await scene.scale(4);
      await scene.shared();
      const { pods } = (await scene.local.read()).pids;
      const isSeen = who === "which the runner sees";
      // A runner that stands still bears no witness, and starts nobody again.
      if (!isSeen) process.kill(runner, "SIGSTOP");
      const from = performance.now();
      for (const [name, pid] of Object.entries(pods)) if (!name.endsWith("-0")) process.kill(pid, "SIGKILL");
      const owned = async (): Promise<number> =>
        (await scene.statuses()).reduce((sum, { shards }) => sum + shards.length, 0);
      await until("all shards to have an owner again", async () => (await owned()) === shardCount, 60_000);
      const ownedMs = performance.now() - from;
      const arrived = scene.sink.arrivals.size;
      await until("mail to flow again", () => scene.sink.arrivals.size > arrived + 600, 90_000);
      const gap = longestSiteGap(scene, { from, to: performance.now() });
      t.diagnostic(
        `all shards owned ${Math.round(ownedMs)} ms after the kill; longest pause of a site ${Math.round(gap)} ms`,
      );
      process.kill(runner, "SIGCONT");
      assert.ok(gap < boundMs, `a site got nothing for ${gap} ms`);
      await scene.scale(1);
      await scene.shared();
    } finally {
      process.kill(runner, "SIGCONT");
      load.stop();
    }
    await load.done;
    await scene.drained([load]);
    const audit = assertNoneLost(t, [load], scene.sink);
    assert.ok(audit.doubled.length <= scene.mostOpen, `${audit.doubled.length} doubled`);
  });
