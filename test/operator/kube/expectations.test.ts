import assert from "node:assert/strict";
import { test } from "node:test";
import { createExpectations } from "#operator/kube/expectations.ts";
import type { ResourceType } from "#operator/kube/types.ts";
import { configMaps, leases, manualClock, tenants } from "./kit.ts";

test("createExpectations() holds a key back until each kind's map has reached the written version", () => {
  const seen = new Map<ResourceType, string>([
    [configMaps, "9"],
    [tenants, "9"],
  ]);
  const clock = manualClock();
  const expectations = createExpectations({ clock, seen: (type) => seen.get(type) });
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", configMaps, "10");
  expectations.wrote("a", tenants, "12");
  expectations.wrote("a", configMaps, "8");
  assert.deepEqual([expectations.fulfilled("a"), expectations.fulfilled("b")], [false, true]);
  seen.set(configMaps, "10");
  assert.equal(expectations.fulfilled("a"), false);
  seen.set(tenants, "100");
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", leases, "5");
  assert.equal(expectations.fulfilled("a"), true, "a kind that nobody watches is not waited for");
});

test("createExpectations() waits no longer than its bound, and forgets when asked", () => {
  const clock = manualClock();
  const expectations = createExpectations({ clock, seen: () => "1" });
  expectations.wrote("a", configMaps, "2");
  clock.advance(9999);
  assert.equal(expectations.fulfilled("a"), false);
  clock.advance(1);
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", configMaps, "3");
  expectations.forget("a");
  assert.equal(expectations.fulfilled("a"), true);
});
