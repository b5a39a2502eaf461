/** An operator that watches some namespaces: a watch for each, which moves by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject, Reflector } from "#operator/kube/types.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { storedIn } from "#operator/reconcile/conditions.ts";
import { openStores, type Stores } from "#operator/reconcile/stores.ts";
import { until } from "#test/kit/until.ts";
import { pool, startWorld, tenant, type World } from "./world.ts";

/** Less than a version that is never seen is waited for. */
const promptMs = 8000;

/** As it is now. */
function isProgrammed({ api }: World, name: "tenants" | "pools", { metadata }: KubeObject): boolean {
  const now = api.state.get(kinds[name], metadata.namespace, metadata.name);
  const programmed = storedIn(now?.["status"]).find(({ type }) => type === "Programmed");
  return programmed?.status === "True" && programmed.observedGeneration === now?.metadata.generation;
}

for (const namespaces of [
  ["aaa", "mail"],
  ["mail", "zzz"],
  ["aaa", "mail", "zzz"],
])
  test(`a status is written as soon as there is something to say, and edits go at once, watching ${namespaces.join(", ")}`, async () => {
    await using world = await startWorld({ namespaces });
    const { state } = world.api;
    const one = state.create(kinds.pools, pool(world.nats.url, { allowedTenants: { from: "All" } }));
    const tenants = namespaces.map((namespace) => {
      const poolRef = { name: "shared", namespace: "mail" };
      return state.create(
        kinds.tenants,
        tenant(`of-${namespace}`, namespace === "mail" ? {} : { poolRef }, { namespace }),
      );
    });
    const areProgrammed = (): boolean =>
      isProgrammed(world, "pools", one) && tenants.every((each) => isProgrammed(world, "tenants", each));
    await until("all to be programmed", areProgrammed, promptMs);
    for (const weight of [5, 6]) {
      for (const { metadata } of tenants)
        state.patch(
          kinds.tenants,
          { namespace: metadata.namespace, name: metadata.name },
          { spec: { weight } },
        );
      await until(`weight ${weight} to be programmed`, areProgrammed, promptMs);
      for (const { tenants: running } of world.fleet.running().values())
        assert.deepEqual(
          [...running.values()].map((each) => each.weight),
          tenants.map(() => weight),
        );
    }
  });

/** Stores over reflectors that stand at these versions, by namespace; "" watches all of them. */
function storesAt(versions: Readonly<Record<string, string>>, namespaces?: readonly string[]): Stores {
  return openStores({
    namespaces,
    onChange: () => undefined,
    tenantSpec: () => undefined,
    watch: ({ namespace = "" }): Reflector => ({
      store: new Map(),
      synced: () => true,
      whenSynced: () => Promise.resolve(),
      resourceVersion: () => versions[namespace] ?? "0",
      silentMs: () => 0,
      stop: () => undefined,
    }),
  });
}

test("resourceVersion() is that of the watch of a namespace, wherever the others are", () => {
  const some = storesAt({ first: "90", second: "7" }, ["first", "second"]);
  assert.deepEqual(
    ["first", "second", "third"].map((namespace) => some.resourceVersion("tenants", namespace)),
    ["90", "7", undefined],
  );
  assert.equal(storesAt({ "": "50" }).resourceVersion("tenants", "any"), "50");
});
