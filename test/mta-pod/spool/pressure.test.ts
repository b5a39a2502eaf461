import assert from "node:assert/strict";
import { test } from "node:test";
import { createPressure } from "#mta-pod/spool/pressure.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool } from "#test/kit/spool.ts";

test("createPressure() tells all pods, for a bounded time, and heeds no nonsense", async () => {
  await using nats = await startTestNats();
  let now = 1_000;
  const clock = { now: () => now, monotonic: () => now };
  await using a = await startTestSpool(nats.url, { pool: "t/press", pod: "a", clock, shards: 4 });
  await using b = await startTestSpool(nats.url, { pool: "t/press", pod: "b", clock, shards: 4 });
  const [teller, hearer] = [createPressure(a), createPressure(b)];
  await b.nc.flush();
  assert.equal(hearer.until(1), 0);
  teller.tell([1, 3], 35);
  await eventually("the word", () => hearer.until(3) > 0);
  assert.deepEqual([0, 1, 2, 3].map(hearer.until), [0, 1_035, 0, 1_035]);
  await eventually("the word at home", () => teller.until(1) === 1_035);
  now = 2_000;
  for (const text of ["", "{", "[]", '[1,"x"]', "[-1,2]", "[35,99999999]"])
    a.nc.publish(a.names.pressureSubject, text);
  teller.tell([2], 1e9);
  await eventually("the last word", () => hearer.until(2) > 0);
  assert.deepEqual([0, 1, 2, 3].map(hearer.until), [0, 1_035, 3_000, 1_035]);
});
