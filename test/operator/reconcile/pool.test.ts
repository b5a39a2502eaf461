import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "#operator/reconcile/kinds.ts";
import { until } from "#test/kit/until.ts";
import { pool, shape, startWorld, tenant } from "./world.ts";

test("a pool, its shape and a tenant come up: children, pods, statuses", async () => {
  await using world = await startWorld();
  const { api } = world;
  api.state.create(kinds.shapes, shape());
  api.state.create(kinds.tenants, tenant("acme"));
  api.state.create(kinds.pools, pool(world.nats.url, { trafficShapeRefs: [{ name: "providers" }] }));
  try {
    await until("the pool to be ready", () => world.conditions("pools", "shared")["Ready"] === "True Ready");
    await until(
      "the tenant to be ready",
      () => world.conditions("tenants", "acme")["Ready"] === "True Ready",
    );
    await until(
      "the shape to be ready",
      () => world.conditions("shapes", "providers")["Ready"] === "True Ready",
    );
  } catch (error) {
    console.log(world.lines.join("\n"));
    console.log(
      JSON.stringify(world.get("pools", "shared"), null, 1),
      JSON.stringify(world.get("tenants", "acme"), null, 1),
    );
    throw error;
  }
  assert.deepEqual(world.conditions("pools", "shared"), {
    Accepted: "True Accepted",
    ResolvedRefs: "True ResolvedRefs",
    Programmed: "True Programmed",
    Ready: "True Ready",
  });
  console.log(
    JSON.stringify(world.get("pools", "shared")?.["status"]),
    JSON.stringify(world.get("tenants", "acme")?.["status"]),
  );
});
