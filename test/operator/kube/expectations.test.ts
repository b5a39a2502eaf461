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
  expectations.wrote("a", { type: configMaps, resourceVersion: "10" });
  expectations.wrote("a", { type: tenants, resourceVersion: "12" });
  expectations.wrote("a", { type: configMaps, resourceVersion: "8" });
  assert.deepEqual([expectations.fulfilled("a"), expectations.fulfilled("b")], [false, true]);
  seen.set(configMaps, "10");
  assert.equal(expectations.fulfilled("a"), false);
  seen.set(tenants, "100");
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", { type: leases, resourceVersion: "5" });
  assert.equal(expectations.fulfilled("a"), true, "a kind that nobody watches is not waited for");
});

test("createExpectations() waits for the map of the namespace that was written in, and for no other's", () => {
  const seen = new Map([
    ["early", "20"],
    ["late", "9"],
  ]);
  const expectations = createExpectations({
    clock: manualClock(),
    seen: (_, namespace = "") => seen.get(namespace),
  });
  expectations.wrote("a", { type: tenants, namespace: "late", resourceVersion: "10" });
  expectations.wrote("b", { type: tenants, namespace: "early", resourceVersion: "15" });
  assert.deepEqual([expectations.fulfilled("a"), expectations.fulfilled("b")], [false, true]);
  seen.set("late", "10");
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", { type: tenants, namespace: "elsewhere", resourceVersion: "99" });
  assert.equal(expectations.fulfilled("a"), true, "a namespace that nobody watches is not waited for");
});

test("createExpectations() waits no longer than its bound, and forgets when asked", () => {
  const clock = manualClock();
  const expectations = createExpectations({ clock, seen: () => "1" });
  expectations.wrote("a", { type: configMaps, resourceVersion: "2" });
  clock.advance(9999);
  assert.equal(expectations.fulfilled("a"), false);
  clock.advance(1);
  assert.equal(expectations.fulfilled("a"), true);
  expectations.wrote("a", { type: configMaps, resourceVersion: "3" });
  expectations.forget("a");
  assert.equal(expectations.fulfilled("a"), true);
});
