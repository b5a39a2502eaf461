import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { poolNames, parentSite, shardOf } from "#crds/wire/subject.ts";
import { hashToken } from "#crds/values/hash.ts";

test("subjects hold tokens only, whatever tenants and sites are called", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (tenant, site) => {
      const names = poolNames("mail/shared");
      const subject = names.entrySubject(3, tenant, site);
      assert.match(subject, /^mb\.[a-z2-7]{13}\.3\.q\.[a-z2-7]{13}\.([a-z2-7]{13}|_parent)$/);
      assert.ok(subject.startsWith(names.entryFilter(3, tenant).slice(0, -1)));
    }),
  );
});

test("a parent's site token is no hash and its subject is stored by the shard's stream", () => {
  const names = poolNames("mail/shared");
  assert.ok(names.entrySubject(0, "mail/acme", parentSite).endsWith("._parent"));
  assert.equal(hashToken(parentSite).length, 13);
  assert.ok(names.shardSubjects(0).includes(names.leaseSubject(0)));
});

test("shardOf() spreads sites over all shards", () => {
  const seen = new Set(Array.from({ length: 400 }, (_, site) => shardOf(`site-${site}`, 0, 8)));
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});
