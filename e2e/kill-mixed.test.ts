/** Kills of a pod, of nats-server and of everything under mail of every kind: deferred, for several sites, large. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

/** Every fifth message is deferred once. */
const isDeferred = (recipient: string): boolean => Number(/\d+/.exec(recipient)?.[0] ?? 0) % 5 === 0;

test("kills of a pod, nats-server and everything while mail is deferred, for several sites and large: none lost", async (t) => {
  await using scene = await startScene({ pods: 2, defers: isDeferred, retry: { first: "2s", max: "4s" } });
  scene.sink.delay(20);
  const loads = [
    scene.load({ messages: Infinity, prefix: "small", perSecond: 300, connections: 8 }),
    scene.load({ messages: Infinity, prefix: "several", perSecond: 60, connections: 4, recipients: 3 }),
    scene.load({ messages: Infinity, prefix: "large", perSecond: 3, connections: 2, bytes: 1_500_000 }),
  ];
  const later = async (what: string): Promise<void> => {
    const before = loads.map((load) => load.accepted.size);
    await until(
      `mail of every kind ${what}`,
      () => loads.every((load, index) => load.accepted.size > (before[index] ?? 0) + 10),
      60_000,
    );
  };
  await later("at the start");
  const faults: { what: string; at: number }[] = [];
  const fault = async (what: string, strike: () => Promise<void>): Promise<void> => {
    faults.push({ what, at: performance.now() });
    await strike();
    await later(`after ${what}`);
  };
  await fault("the kill of a pod", () => scene.local.kill(0));
  await fault("the kill of nats-server", () => scene.local.killNats());
  await fault("the kill of the other pod", () => scene.local.kill(1));
  await fault("the kill of everything", async () => {
    await scene.local.killAll();
    await scene.restart();
  });
  for (const load of loads) load.stop();
  await Promise.all(loads.map((load) => load.done));
  await scene.drained(loads);
  const audit = assertNoneLost(t, loads, scene.sink);
  const doubles = audit.doubled.map(({ id, firstAt, lastAt }) => {
    // The last fault that came before the second copy is the one that it is owed to.
    const index = faults.findLastIndex(({ at }) => at < lastAt);
    const { what, at } = faults[index] ?? { what: "before any", at: 0 };
    return {
      id,
      fault: what,
      answeredMsBefore: Math.round(at - firstAt),
      againMsAfter: Math.round(lastAt - at),
    };
  });
  t.diagnostic(`accepted ${loads.map((load) => load.accepted.size).join(" + ")}`);
  for (const { what } of faults)
    t.diagnostic(`doubled by ${what}: ${doubles.filter(({ fault }) => fault === what).length}`);
  assert.ok(audit.doubled.length <= faults.length * scene.mostOpen);
  assert.deepEqual(
    doubles.filter(({ answeredMsBefore }) => answeredMsBefore > 1000),
    [],
    "only what was open at a fault comes twice",
  );
});
