/** A SendingPool that is deleted: its pods go, what they had queued stays in JetStream, and somebody says so. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { poolNames } from "#crds/wire/subject.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";
import { pool, startWorld, tenant, type World } from "./world.ts";

const kept =
  "14 messages stay in JetStream: a SendingPool of this name, with as many shards, goes on with them";

async function ready(world: World): Promise<void> {
  world.fleet.report = { queued: 7 };
  world.api.state.create(kinds.tenants, tenant("acme"));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("acme to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  await until("what is queued to be told", () => {
    const status = world.get("pools", "shared")?.["status"];
    return Reflect.get(Reflect.get(status ?? {}, "queue") ?? {}, "messages") === 14;
  });
}

test("what a deleted pool has queued is told, and is there for the next of its name", async () => {
  await using world = await startWorld();
  await ready(world);
  const spool = await startTestSpool(world.nats.url, { pool: "mail/shared", pod: "a-pod-of-before" });
  const subject = poolNames("mail/shared").entrySubject(0, "mail/acme", "site.example");
  await spool.nc.request(subject, "mail", { timeout: 2000 });
  await spool[Symbol.asyncDispose]();
  world.api.state.remove(kinds.pools, "mail", "shared");
  const events = () =>
    [...world.api.state.list(kinds.events)].map(
      ([, { type, reason, note }]) => `${String(type)} ${String(reason)} ${String(note)}`,
    );
  await until("it to be told", () => events().includes(`Warning QueueKept ${kept}`));
  await until(
    "its tenant to hear of it",
    () => world.conditions("tenants", "acme")["ResolvedRefs"] === "False PoolNotFound",
  );
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("acme to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  assert.equal(await world.engine.context.streams.known("mail/shared")?.stored("mail/acme"), 1);
});

test("a pool that waits for its children to go says what stays, and makes none of them anew", async () => {
  await using world = await startWorld();
  await ready(world);
  const [ref, finalizers] = [{ namespace: "mail", name: "shared" }, ["foregroundDeletion"]];
  world.api.state.patch(kinds.pools, ref, { metadata: { finalizers } });
  world.api.state.remove(kinds.pools, "mail", "shared");
  await until("it to be told", () => world.conditions("pools", "shared")["Deleting"] === "True QueueKept");
  assert.equal(world.message("pools", "shared", "Deleting"), kept);
  world.api.requests.length = 0;
  world.api.state.remove(kinds.services, "mail", "mailboat-shared");
  world.api.state.remove(kinds.deployments, "mail", "mailboat-shared");
  await until("its pods to be out of the status", () => {
    const status = world.get("pools", "shared")?.["status"];
    return Reflect.get(status ?? {}, "replicas") === 0;
  });
  const written = world.api.requests.filter(
    ({ method, type }) => method !== "GET" && type?.plural !== "events",
  );
  assert.deepEqual([...new Set(written.map(({ type }) => type?.plural))], ["sendingpools"]);
  assert.equal(world.message("pools", "shared", "Deleting"), kept, "what the last pods said stands");
  world.api.state.patch(kinds.pools, ref, { metadata: { finalizers: [] } });
  await until("it to be gone", () => world.get("pools", "shared") === undefined);
});
