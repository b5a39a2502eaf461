/** nats-server stops answering without dying: short, and mail waits; long, and clients are told to come back in time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, assertOnlyOpenDoubled } from "./kit/audit.ts";
import { type Scene, startScene } from "./kit/scene.ts";

const answerMs = 65_000;

/** Stops it for as long as `during` takes. */
async function withoutNats(scene: Scene, during: () => Promise<unknown>): Promise<void> {
  const { nats } = (await scene.local.read()).pids;
  assert.ok(nats !== undefined);
  process.kill(nats, "SIGSTOP");
  try {
    await during();
  } finally {
    process.kill(nats, "SIGCONT");
  }
}

test("NATS away for 5 s: mail is accepted in the same session once it is back", async (t) => {
  await using scene = await startScene({ pods: 2 });
  const load = scene.load({ messages: 6000 });
  await until("a third to be accepted", () => load.accepted.size > 2000, 60_000);
  await withoutNats(scene, () => delay(5000));
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  t.diagnostic(`longest wait for a 250: ${Math.round(load.longestMs())} ms`);
  assert.equal(load.refused.length, 0);
  assert.equal(load.lostConnections(), 0);
  assert.ok(load.longestMs() > 4000 && load.longestMs() < 15_000);
  assert.equal(audit.doubled.length, 0);
});

test("NATS away for more than a minute: 451 within the bound, nothing lost", async (t) => {
  await using scene = await startScene({ pods: 2 });
  const load = scene.load({ messages: 6000 });
  await until("a third to be accepted", () => load.accepted.size > 2000, 60_000);
  const awayAt = performance.now();
  await withoutNats(scene, () =>
    until("every session to be answered", () => load.refused.length >= 16, 80_000),
  );
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  const waits = load.refused.map(({ ms }) => ms);
  t.diagnostic(
    `refused after ${Math.round(Math.min(...waits))} to ${Math.round(Math.max(...waits))} ms: ${load.refused[0]?.text}`,
  );
  assert.ok(Math.max(...waits) < answerMs);
  assert.ok(load.longestMs() < answerMs);
  assert.deepEqual([...new Set(load.refused.map(({ code }) => code))], [451]);
  assert.equal(load.lostConnections(), 0);
  assertOnlyOpenDoubled(t, audit, { at: awayAt, bound: scene.mostOpen });
});
