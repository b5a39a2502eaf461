import assert from "node:assert/strict";
import { test } from "node:test";
import { createPurging } from "#mta-pod/purging.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import { createBundles } from "#mta-pod/spool/bundles.ts";
import type { Purge } from "#mta-pod/spool/purges.ts";

const now = 1_700_000_000_000;

/** Tenant "a" has so many entries in two shards, every hundredth of them large, every 500th attempted before; tenant "b" has one in each. */
function scene(count: number) {
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map(["a", "b"].map((id) => [id, { weight: 1, held: false }])), now);
  scheduler.setSite("s", { limits: { connections: 2 } }, now);
  const add = (tenant: string, seq: number, size: number): void => {
    const attempt = seq % 500 === 0 ? 1 : 0;
    const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt };
    const lane = { site: "s", tenant, class: "bulk" } as const;
    scheduler.add(lane, { shard: seq % 2, seq, idHash: seq, size, ...times }, now);
  };
  for (let seq = 1; seq <= count; seq++) add("a", seq, seq % 100 === 0 ? 1_000_000 : 1000);
  for (const seq of [count + 1, count + 2]) add("b", seq, 1000);
  const purged: Purge[] = [];
  const dropped: { shard: number; seqs: readonly number[] }[] = [];
  const owned = new Set([0, 1]);
  const purging = createPurging({
    pod: {
      scheduler,
      log: silentLog,
      ownership: { mayProceed: (shard: number) => owned.has(shard) } as never,
    },
    hot: { take: () => undefined },
    purges: {
      purge: async (what) => {
        purged.push(what);
        return true;
      },
      dropStates: async (shard, seqs) => {
        dropped.push({ shard, seqs });
        return seqs.length;
      },
    },
  });
  return { scheduler, purging, purged, dropped, owned };
}

test("all of a tenant's goes shard by shard, up to its last entry that is known, and nobody else's", async () => {
  const { scheduler, purging, purged } = scene(10_000);
  const { together, single } = await purging.sort(scheduler.handles({ tenant: "a" }));
  assert.deepEqual([together.length, single.length], [9900, 100], "large ones one by one");
  assert.deepEqual(await purging.purge("a", together), []);
  assert.deepEqual(purged, [
    { shard: 1, tenant: "a", from: 1, upTo: 9999 },
    { shard: 0, tenant: "a", from: 2, upTo: 9998 },
  ]);
  assert.equal(scheduler.count({ tenant: "a" }), 100);
  assert.equal(scheduler.count({ tenant: "b" }), 2);
});

test("the states of those that were attempted are dropped where their entries are gone, and nowhere else", async () => {
  const { scheduler, purging, dropped } = scene(3001);
  await purging.purge("a", scheduler.handles({ tenant: "a" }));
  assert.deepEqual(dropped, [{ shard: 0, seqs: [500, 1000, 1500, 2000, 2500, 3000] }]);
  const other = scene(2000);
  other.owned.delete(0);
  await other.purging.purge("a", other.scheduler.handles({ tenant: "a" }));
  assert.deepEqual(other.dropped, []);
});

test("few go one by one, each with its event", async () => {
  const { scheduler, purging } = scene(500);
  const { together, single } = await purging.sort(scheduler.handles({ tenant: "a" }));
  assert.deepEqual([together.length, single.length], [0, 500]);
});

test("a shard that is not ours any more, or was not purged, keeps its entries; what is under way stays", async () => {
  const { scheduler, purging, purged, owned } = scene(2000);
  owned.delete(0);
  assert.equal(scheduler.next(now).kind, "dispatch");
  const handles = scheduler.handles({ tenant: "a" });
  const left = await purging.purge("a", handles);
  assert.deepEqual(
    purged.map(({ shard }) => shard),
    [1],
  );
  assert.equal(left.length, 1000);
  assert.equal(scheduler.count({ tenant: "a" }), 1001);
});

test("bundles forget what was purged, and nothing behind it", () => {
  const bundles = createBundles();
  const subject = "mb.p.0.q.t.s.o.b";
  for (const seq of [1, 2, 9]) bundles.given(0, subject, seq);
  bundles.given(0, "mb.p.0.q.u.s.o.b", 3);
  bundles.indexed(0, () => 20);
  bundles.purged(0, "mb.p.0.q.t.", 5);
  assert.deepEqual(bundles.together(0, subject, [9]), { below: 10, seqs: [9] });
  assert.deepEqual(bundles.together(0, subject, [1, 2]).seqs, []);
  assert.deepEqual(bundles.together(0, "mb.p.0.q.u.s.o.b", [3]).seqs, [3]);
});
