import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "#operator/kube/clock.ts";
import { createClient } from "#operator/kube/client.ts";
import { createEngine } from "#operator/reconcile/engine.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { until } from "#test/kit/until.ts";
import { pool, startWorld } from "./world.ts";

function imageOf(deployment: unknown): string {
  const text = JSON.stringify(deployment ?? {});
  return /"image":"([^"]*)"/.exec(text)?.[1] ?? "";
}

test("a new operator with a new image rolls one pool at a time; an edit of a pool goes at once", async () => {
  await using world = await startWorld();
  const names = ["a", "b", "c"];
  for (const name of names) {
    const one = pool(world.nats.url);
    world.api.state.create(kinds.pools, { ...one, metadata: { ...one.metadata, name } });
  }
  const isReady = (name: string) => world.conditions("pools", name)["Ready"] === "True Ready";
  await until("all pools to be ready", () => names.every(isReady), 20_000);
  await world.engine.stop();
  // From here on no roll-out ends: the first pool keeps its turn.
  world.fleet.isStuck = true;
  const client = createClient({ kubeconfig: world.api.kubeconfig, clock: systemClock });
  const engine = createEngine({
    client,
    clock: systemClock,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    podImage: "mailboat-pod:next",
    identity: "operator-1",
    hasPodMonitors: false,
  });
  await engine.stores.whenSynced();
  engine.lead();
  const rolled = () =>
    names.filter((name) => imageOf(world.get("deployments", `mailboat-${name}`)).endsWith(":next"));
  await until("the first pool to be rolled", () => rolled().length === 1);
  const [first = ""] = rolled();
  const waiting = names.filter((name) => name !== first);
  await until("the others to say that they wait", () =>
    waiting.every((name) => world.message("pools", name, "Ready").includes("waits for other pools")),
  );
  assert.deepEqual(rolled(), [first]);
  const [edited = ""] = waiting;
  world.api.state.patch(
    kinds.pools,
    { namespace: "mail", name: edited },
    { spec: { hostname: "other.example.net" } },
  );
  await until("what a user edited to be rolled at once", () => rolled().includes(edited));
  await engine.stop();
});
