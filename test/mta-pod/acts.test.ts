import assert from "node:assert/strict";
import { test } from "node:test";
import { type Acts, createActs } from "#mta-pod/acts.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const now = 1_700_000_000_000;

/** One pod with two entries in its index and two that its reader gives only when the test says so. */
function scene() {
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map([["mail/a", { weight: 1, held: true }]]), now);
  const add = (seq: number): void => {
    const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
    const lane = { site: "s", tenant: "mail/a", class: "bulk" } as const;
    scheduler.add(lane, { shard: 0, seq, idHash: seq, size: 1000, ...times }, now);
  };
  [1, 2].forEach(add);
  let isIndexed = false;
  const bounced: number[] = [];
  const members = [{ pod: "pod-0" }];
  const acts: Acts = createActs({
    pod: {
      scheduler,
      log: silentLog,
      clock: { now: () => now, monotonic: () => performance.now() },
      newId: () => "job-1",
      config: () => ({ tenants: new Map([["mail/a", {}]]) }),
      ownership: { mayProceed: () => true, members: () => members },
    } as never,
    peers: {
      ask: async (kind: string, query: unknown) => [
        { pod: "pod-0", answer: kind === "act" ? await acts.beginHere(query) : acts.progressHere(query) },
      ],
    } as never,
    deliver: {
      pump: () => {},
      bounce: async (handle: number) => bounced.push(scheduler.entryOf(handle)?.entry.seq ?? 0) > 0,
    } as never,
    parked: { list: () => [] } as never,
    purging: {} as never,
    isIndexed: () => isIndexed,
  });
  return {
    acts,
    bounced,
    index() {
      [3, 4].forEach(add);
      isIndexed = true;
    },
  };
}

test("an act waits for shards that are being indexed: what is stored is meant, not what is known", async () => {
  const { acts, bounced, index } = scene();
  const acting = acts.act("bounce", { tenant: "mail/a" });
  await new Promise(setImmediate);
  assert.deepEqual(bounced, []);
  index();
  const { affected, total, isDone } = await acting;
  assert.deepEqual([bounced.toSorted((a, b) => a - b), affected, total, isDone], [[1, 2, 3, 4], 4, 4, true]);
});
