import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ownerOf, ownersOf } from "#mta-pod/spool/rendezvous.ts";

const pods = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 12 });

describe("ownersOf()", () => {
  test("gives every shard to one of the pods, whatever the order they are named in", () => {
    fc.assert(
      fc.property(pods, fc.integer({ min: 1, max: 64 }), (names, shards) => {
        const owners = ownersOf(shards, names);
        assert.equal(owners.length, shards);
        assert.deepEqual(owners, ownersOf(shards, [...names].reverse()));
        for (const owner of owners) assert.ok(names.includes(owner));
      }),
    );
  });

  test("gives no pod more than its even share, rounded up", () => {
    fc.assert(
      fc.property(pods, fc.integer({ min: 1, max: 64 }), (names, shards) => {
        const counts = countsOf(ownersOf(shards, names));
        assert.ok(Math.max(...counts.values()) <= Math.ceil(shards / names.length));
      }),
    );
  });

  // Room that opens lets a shard go home to the pod it weighs most for, which may set another free: a few move besides.
  test("moves the shards of a pod that leaves, and few others: a quarter at most, a tenth on average", () => {
    for (let count = 2; count <= 12; count++) {
      const rounds = 20;
      let sum = 0;
      for (let round = 0; round < rounds; round++) {
        const [leaving, ...left] = Array.from({ length: count }, (_, index) => `mail-${round}-${index}`);
        const before = ownersOf(64, [leaving ?? "", ...left]);
        const after = ownersOf(64, left);
        const moved = before.filter((owner, shard) => owner !== leaving && after[shard] !== owner).length;
        assert.ok(moved <= 16, `${moved} of 64 moved with ${count} pods`);
        sum += moved;
      }
      assert.ok(sum / rounds <= 6.4, `${sum / rounds} of 64 moved on average with ${count} pods`);
    }
  });

  test("gives nothing to nobody", () => {
    assert.deepEqual(ownersOf(8, []), []);
    assert.equal(ownerOf("shard 1", []), undefined);
  });
});

function countsOf(owners: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  return counts;
}
