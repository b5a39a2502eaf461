import assert from "node:assert/strict";
import { test } from "node:test";
import { poolNames } from "#crds/wire/subject.ts";
import { systemClock } from "#operator/kube/clock.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";
import { pool, startWorld, tenant, type World, type WorldOptions } from "./world.ts";

const names = poolNames("mail/shared");

/** The pool's streams, with `count` entries of the tenant in each. */
async function queued(world: World, tenantId: string, count: number) {
  const spool = await startTestSpool(world.nats.url, { pool: "mail/shared", pod: "a-pod-of-before" });
  const publish = async () => {
    for (let shard = 0; shard < 2; shard++)
      for (let index = 0; index < count; index++)
        await spool.nc.request(names.entrySubject(shard, tenantId, "site.example"), "mail", {
          timeout: 2000,
        });
  };
  await publish();
  return {
    /** Delivered. */
    async empty() {
      for (let shard = 0; shard < 2; shard++)
        await spool.nc.request(`$JS.API.STREAM.PURGE.${names.shardStream(shard)}`, "{}", { timeout: 2000 });
    },
    /** Messages in the shards' streams. */
    async count() {
      let sum = 0;
      for (let shard = 0; shard < 2; shard++) {
        const subject = `$JS.API.STREAM.INFO.${names.shardStream(shard)}`;
        const { state } = (await spool.nc.request(subject, "{}", { timeout: 2000 })).json<{
          state: { messages: number };
        }>();
        sum += state.messages;
      }
      return sum;
    },
    [Symbol.asyncDispose]: () => spool[Symbol.asyncDispose](),
  };
}

async function startWithTenant(spec: object = {}, options: WorldOptions = {}): Promise<World> {
  const world = await startWorld(options);
  world.api.state.create(kinds.tenants, tenant("acme", spec));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  return world;
}

const isGone = (world: World) => () => world.get("tenants", "acme") === undefined;
const runs = (world: World) =>
  [...world.fleet.running().values()].map(({ tenants }) => tenants.get("mail/acme"));

test("a deleted tenant stays, refusing new mail, until what it has queued is gone", async () => {
  await using world = await startWithTenant();
  await using mail = await queued(world, "mail/acme", 2);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await until(
    "the drain to be told",
    () => world.conditions("tenants", "acme")["Deleting"] === "True Draining",
  );
  assert.equal(world.message("tenants", "acme", "Deleting"), "4 messages are queued");
  await until("the pods to refuse its mail", () => runs(world).every((one) => one?.state === "Reject"));
  assert.deepEqual(
    runs(world).map((one) => one?.domains[0]?.name),
    ["acme.example", "acme.example"],
    "its domain, and so its keys, stay",
  );
  await mail.empty();
  await until("it to go", isGone(world));
  await until("the pods to forget it", () => runs(world).every((one) => one === undefined));
  assert.deepEqual(world.fleet.asked, [], "nothing was discarded");
});

test("an operator that takes over goes on with a drain, however long it has lasted", async () => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  await using world = await startWithTenant({}, { clock });
  await using mail = await queued(world, "mail/acme", 2);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  const told = () => world.message("tenants", "acme", "Deleting") === "4 messages are queued";
  await until("the drain to be told", told);
  aheadMs = 3_600_000;
  await world.restartOperator();
  await until(
    "it to look at the queue",
    () => isGone(world)() || world.engine.context.reports.of("mail/shared").wasAsked,
  );
  assert.ok(told());
  await mail.empty();
  await until("it to go", isGone(world));
});

test("Discard: the pods are asked to drop what is queued, and then it goes", async () => {
  await using world = await startWithTenant({ deletionPolicy: "Discard" });
  await using mail = await queued(world, "mail/acme", 2);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await until("the pods to be asked", () => world.fleet.asked.some(({ kind }) => kind === "act"));
  const [first] = world.fleet.asked;
  assert.deepEqual(
    { ...(first?.query as object), job: "" },
    { job: "", action: "discard", selection: { tenant: "mail/acme" } },
  );
  await until("it to be told", () => world.conditions("tenants", "acme")["Deleting"] === "True Discarding");
  await mail.empty();
  await until("it to go", isGone(world));
});

test("Discard in a pool without pods empties the streams itself", async () => {
  await using world = await startWithTenant({ deletionPolicy: "Discard" });
  await using mail = await queued(world, "mail/acme", 2);
  world.api.state.patch(kinds.pools, { namespace: "mail", name: "shared" }, { spec: { replicas: 0 } });
  await until("no pod to be left", () => world.fleet.running().size === 0);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await until("it to go", isGone(world), 20_000);
  assert.ok(mail);
});

test("the end of drainTimeout discards, and skip-drain lets it go at once", async () => {
  await using world = await startWithTenant({ drainTimeout: "1m" });
  await using mail = await queued(world, "mail/acme", 1);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await until(
    "the drain to be told",
    () => world.conditions("tenants", "acme")["Deleting"] === "True Draining",
  );
  world.api.state.patch(
    kinds.tenants,
    { namespace: "mail", name: "acme" },
    { metadata: { annotations: { "mailboat.dev/skip-drain": "true" } } },
  );
  await until("it to go", isGone(world));
  assert.ok(mail);
});

test("a namespace that ends keeps no tenant longer than 60 s, whatever is queued, refused or gone before it", async () => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  await using world = await startWithTenant({}, { clock });
  await using mail = await queued(world, "mail/acme", 2);
  // As a cluster: nothing new may be made, and what is there goes in any order, the children among the first.
  world.api.state.patch(
    kinds.namespaces,
    { namespace: undefined, name: "mail" },
    { metadata: { finalizers: ["kubernetes"] } },
  );
  world.api.state.remove(kinds.namespaces, undefined, "mail");
  world.api.faults = ({ method, type, namespace, name }) => {
    const isNew =
      type !== undefined &&
      (method === "POST" || world.api.state.get(type, namespace, name ?? "") === undefined);
    return method !== "GET" && isNew ? { kind: "status", code: 403, reason: "Forbidden" } : undefined;
  };
  for (const type of [kinds.tenants, kinds.configMaps, kinds.deployments])
    for (const [, { metadata }] of world.api.state.list(type))
      world.api.state.remove(type, metadata.namespace, metadata.name);
  await until(
    "the drain to be told",
    () => world.conditions("tenants", "acme")["Deleting"] === "True Draining",
  );
  await until("a child to be refused", () => world.api.faultsDone.get("status") !== undefined);
  aheadMs = 61_000;
  await until("it to go", isGone(world));
  assert.equal(await mail.count(), 4, "nothing was dropped");
  world.api.state.remove(kinds.pools, "mail", "shared");
  await until(
    "the pool to be forgotten",
    () => world.engine.context.streams.known("mail/shared") === undefined,
  );
});

test("of two tenants with one domain the later has it refused, until the earlier goes", async () => {
  await using world = await startWithTenant();
  world.api.state.create(
    kinds.tenants,
    tenant("later", { domains: [{ name: "acme.example" }, { name: "own.example" }] }),
  );
  await until(
    "it to be refused",
    () => world.conditions("tenants", "later")["Accepted"] === "False DomainConflict",
  );
  assert.equal(world.conditions("tenants", "later")["Ready"], "False NotAccepted");
  assert.equal(world.conditions("tenants", "later")["Stalled"], "True DomainConflict");
  assert.equal(world.conditions("tenants", "later")["Reconciling"], undefined);
  assert.equal(world.conditions("tenants", "acme")["Ready"], "True Ready");
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await until("it to be accepted", () => world.conditions("tenants", "later")["Ready"] === "True Ready");
});

test("a pool of another namespace takes a tenant only where it says so, by label or for all", async () => {
  await using world = await startWorld();
  const foreign = { poolRef: { name: "shared", namespace: "mail" } };
  const { state } = world.api;
  state.create(kinds.namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } });
  state.create(kinds.pools, pool(world.nats.url));
  state.create(kinds.tenants, tenant("acme", foreign, { namespace: "shop" }));
  const accepted = () => {
    const status = state.get(kinds.tenants, "shop", "acme")?.["status"] as {
      conditions?: { type: string; reason: string }[];
    };
    return status?.conditions?.find(({ type }) => type === "Accepted")?.reason;
  };
  await until("it to be refused", () => accepted() === "RefNotPermitted");
  const allow = (allowedTenants: object) =>
    state.patch(kinds.pools, { namespace: "mail", name: "shared" }, { spec: { allowedTenants } });
  allow({ from: "Selector", selector: { matchLabels: { mail: "yes" } } });
  state.patch(
    kinds.namespaces,
    { namespace: undefined, name: "shop" },
    { metadata: { labels: { mail: "yes" } } },
  );
  await until("it to be taken", () => accepted() === "Accepted");
  state.patch(
    kinds.namespaces,
    { namespace: undefined, name: "shop" },
    { metadata: { labels: { mail: null } } },
  );
  await until("it to be refused again", () => accepted() === "RefNotPermitted");
  allow({ from: "All", selector: null });
  await until("it to be taken again", () => accepted() === "Accepted");
});

test("the finalizer is there before the tenant is in any pod's configuration", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("the pool to be ready", () => world.conditions("pools", "shared")["Ready"] === "True Ready");
  // No finalizer may be written for a while.
  world.api.faults = ({ method, type, subresource }) =>
    method === "PATCH" && type?.plural === "tenants" && subresource === undefined
      ? { kind: "status", code: 403, reason: "Forbidden" }
      : undefined;
  world.api.state.create(kinds.tenants, tenant("acme"));
  await until("an attempt", () => world.api.faultsDone.get("status") !== undefined);
  world.engine.context.configuration.touch();
  assert.equal(world.engine.context.configuration.tenant("mail/acme"), undefined);
  world.api.faults = undefined;
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
});
