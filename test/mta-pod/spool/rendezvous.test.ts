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

  test("moves only the shards of a pod that leaves", () => {
    fc.assert(
      fc.property(pods, fc.nat(), (names, pick) => {
        const leaving = names[pick % names.length];
        const before = ownersOf(64, names);
        const after = ownersOf(
          64,
          names.filter((name) => name !== leaving),
        );
        for (const [shard, owner] of before.entries())
          if (owner !== leaving) assert.equal(after[shard], owner);
      }),
    );
  });

  test("gives nothing to nobody", () => {
    assert.deepEqual(ownersOf(8, []), []);
    assert.equal(ownerOf("shard 1", []), undefined);
  });

  test("shares 64 shards among 8 pods with none left empty", () => {
    const names = Array.from({ length: 8 }, (_, index) => `mail-7d9f-${index}`);
    const counts = new Map<string, number>();
    for (const owner of ownersOf(64, names)) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    assert.equal(counts.size, 8);
    assert.ok(Math.max(...counts.values()) <= 16);
  });
});
