import assert from "node:assert/strict";
import { test } from "node:test";
import { createDeliver, type DeliverDeps } from "#mta-pod/deliver.ts";
import type { Entry } from "#mta-pod/schedule/types.ts";
import { envelope } from "#test/kit/spool.ts";

test("mail for later is indexed as old as when its time came, once that has come", () => {
  const receivedAt = 1_700_000_000_000;
  const sendAt = receivedAt + 86_400_000;
  for (const [now, age] of [
    [sendAt - 1, receivedAt],
    [sendAt + 5000, sendAt],
  ] as const) {
    const added: Entry[] = [];
    const deliver = createDeliver({
      pod: {
        scheduler: { add: (_lane: object, entry: Entry) => added.push(entry) },
        clock: { now: () => now },
      },
      repeats: { isRepeat: () => false },
      poison: { verdict: () => "fine" },
      sites: { laneOf: () => ({}) },
    } as unknown as DeliverDeps);
    deliver.add({ shard: 0, seq: 1, subject: "" }, envelope({ receivedAt, sendAt, due: sendAt }), {});
    assert.deepEqual(
      added.map((entry) => [entry.receivedAt, entry.sendAt, entry.due]),
      [[age, sendAt, sendAt]],
    );
  }
});
