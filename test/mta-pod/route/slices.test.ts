import assert from "node:assert/strict";
import { test } from "node:test";
import type { Rule } from "#crds/pod-config/schema.ts";
import { sliceFor, sliceNamed, type SiteRoute } from "#mta-pod/route/site.ts";

const rule = {
  name: "mail/hot/rule",
  limits: { connections: 5 },
  slices: [{ connections: 2 }, { connections: 2 }, { connections: 1 }],
} as unknown as Rule;
const hot: SiteRoute = {
  id: "mail/hot/rule",
  provider: "hot",
  label: "mx.example",
  rule,
  hops: [{ host: "mx.example", port: 25, preference: 0 }],
};
const ids = Array.from({ length: 300 }, (_, index) => `01J${index}`);

test("sliceFor() spreads messages over the slices, the same one for an id each time, with its part of the limits", () => {
  const counts = new Map<string, number>();
  for (const id of ids) {
    const slice = sliceFor(hot, id);
    assert.deepEqual(sliceFor(hot, id), slice);
    assert.deepEqual(slice.hops, hot.hops);
    assert.equal(slice.rule?.limits.connections, rule.slices?.[Number(slice.id.at(-1))]?.connections);
    counts.set(slice.id, (counts.get(slice.id) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].toSorted(), ["mail/hot/rule~0", "mail/hot/rule~1", "mail/hot/rule~2"]);
  for (const count of counts.values()) assert.ok(count > 60, `${count} of 300 in a third`);
});

test("sliceFor() leaves alone what has no slices, or is one", () => {
  const plain = { ...hot, rule: { ...rule, slices: undefined } as unknown as Rule };
  const bare = { ...hot, rule: null };
  for (const site of [plain, bare]) assert.equal(sliceFor(site, "x"), site);
  const slice = sliceFor(hot, "x");
  assert.equal(sliceFor(slice, "y"), slice);
});

test("sliceNamed() finds a site, or a slice of one, as long as it has that name", () => {
  assert.equal(sliceNamed(hot, "mail/hot/rule~2")?.rule?.limits.connections, 1);
  for (const name of ["mail/hot/rule~3", "mail/hot/rule", "other"])
    assert.equal(sliceNamed(hot, name), undefined);
  const plain = { ...hot, rule: null };
  assert.equal(sliceNamed(plain, "mail/hot/rule"), plain);
  assert.equal(sliceNamed(plain, "mail/hot/rule~0"), undefined);
});
