/**
 * A nats-server that is killed brings back mail whose deletion it had acknowledged: what left last of each of its files that it kept
 * for older marks. Everybody's memory of it is killed too.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { podLogs } from "./kit/pod-logs.ts";
import { startScene } from "./kit/scene.ts";

const rounds = 4;
/** Of a round: more than a file of the server's, which ends at 8 MB. */
const messages = 100;
const bytes = 150_000;
/** Pods gather for a tenth of a second. */
const toldMs = 300;

test("kill -9 of everything when all mail is delivered: none of it comes again, whatever nats-server brings back", async (t) => {
  await using scene = await startScene({ pods: 2, sites: 2, shards: 2 });
  const loads = [];
  for (let round = 0; round < rounds; round++) {
    const load = scene.load({ messages, bytes, prefix: `round${round}-` });
    await load.done;
    await scene.drained([load]);
    loads.push(load);
  }
  const lastAt = Math.max(...[...scene.sink.arrivals.values()].map((arrival) => arrival.lastAt));
  await until("pods to have told each other of the last", () => performance.now() > lastAt + toldMs);
  await scene.local.killAll();
  await scene.restart();
  const after = scene.load({ messages: 20, prefix: "after" });
  await after.done;
  await scene.drained([...loads, after]);
  const lines = (await podLogs(scene.local.state)).flat();
  const dropped = lines.filter((line) => line.includes("repeat dropped")).length;
  t.diagnostic(`${dropped} came back and were dropped`);
  const audit = assertNoneLost(t, [...loads, after], scene.sink);
  assert.deepEqual(audit.doubled, []);
});
