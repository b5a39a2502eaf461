import assert from "node:assert/strict";
import { test } from "node:test";
import { createLeaving } from "#mta-pod/hand-over.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import { createShardChanges } from "#mta-pod/shard-changes.ts";

/** A pod with the sites "s0" and "s1", each in the shard of its number; what is told is noted. */
function world() {
  const said: string[] = [];
  const note =
    (what: string) =>
    (shard: number): undefined =>
      void said.push(`${what} ${shard}`);
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  for (const site of ["s0", "s1"]) scheduler.setSite(site, { limits: { connections: 2 } }, 1000);
  const leaving = createLeaving({
    scheduler,
    clock: { now: () => 1000, monotonic: () => 0 },
    inFlight: () => new Set(),
    shardOf: (site) => Number(site.slice(1)),
    retire: note("retire"),
    closeIdle: (site) => void said.push(`close idle of ${site}`),
    untoldSince: () => undefined,
    former: () => [],
    suspicion: () => undefined,
    abandon: note("abandon"),
  });
  const changes = createShardChanges(() => ({
    leaving,
    former: { owned: note("former owned") },
    poison: { owned: note("poison owned"), lost: note("poison lost") },
    shards: { owned: note("owned"), lost: note("lost") },
    outbound: { abandon: note("abandon") },
  }));
  return { changes, said };
}

test("a lost shard: nothing more begins, what is before its dot is cut off, and its idle connections are closed", () => {
  const { changes, said } = world();
  changes.onLost(1, "fenced");
  assert.deepEqual(said, ["lost 1", "abandon 1", "close idle of s1", "poison lost 1"]);
});

test("a shard that is ours: its former owner is known before its first entry is", () => {
  const { changes, said } = world();
  changes.onOwned(0, 7, null, "absent");
  assert.deepEqual(said, ["former owned 0", "poison owned 0", "owned 0"]);
});
