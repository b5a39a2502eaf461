/** A tenant whose `poolRef` is edited: what it has queued in the pool that it leaves is sent there, whatever becomes of the operator. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { poolNames } from "#crds/wire/subject.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";
import { dkimKey, pool, secret, startWorld, tenant, type World } from "./world.ts";

interface Scene extends AsyncDisposable {
  readonly world: World;
  /** Stores messages of acme in a pool. */
  queue(pool: string, count: number): Promise<void>;
  /** As if all of it were delivered. */
  empty(pool: string): Promise<void>;
}

/** acme, signed and with a login, in the pool `shared`; beside it the pool `other`. */
async function startScene(): Promise<Scene> {
  const world = await startWorld();
  const { state } = world.api;
  state.create(kinds.secrets, secret("acme-dkim", { "tls.key": dkimKey }));
  state.create(kinds.secrets, secret("acme-login", { username: "acme", password: "correct horse" }));
  const dkim = [{ selector: "s1", secretRef: { name: "acme-dkim", key: "tls.key" } }];
  const credentials = [{ name: "app", secretRef: { name: "acme-login" } }];
  state.create(kinds.tenants, tenant("acme", { domains: [{ name: "acme.example", dkim }], credentials }));
  const shared = pool(world.nats.url);
  state.create(kinds.pools, shared);
  state.create(kinds.pools, { ...shared, metadata: { ...shared.metadata, name: "other" } });
  await until("acme to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  for (const name of ["shared", "other"])
    await until("a pool to be ready", () => world.conditions("pools", name)["Ready"] === "True Ready");
  const spoolOf = (name: string) =>
    startTestSpool(world.nats.url, { pool: `mail/${name}`, pod: "a-pod-of-before" });
  const spools = { shared: await spoolOf("shared"), other: await spoolOf("other") };
  const spool = (name: string) => (name === "shared" ? spools.shared : spools.other).nc;
  return {
    world,
    async queue(name, count) {
      const subject = poolNames(`mail/${name}`).entrySubject(0, "mail/acme", "site.example");
      for (let index = 0; index < count; index++)
        await spool(name).request(subject, "mail", { timeout: 2000 });
    },
    async empty(name) {
      const stream = poolNames(`mail/${name}`).shardStream(0);
      await spool(name).request(`$JS.API.STREAM.PURGE.${stream}`, "{}", { timeout: 2000 });
    },
    async [Symbol.asyncDispose]() {
      for (const one of Object.values(spools)) await one[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

function move(world: World, name: string): void {
  world.api.state.patch(kinds.tenants, { namespace: "mail", name: "acme" }, { spec: { poolRef: { name } } });
}

/** What the pods of a pool run of acme: its state, login and keys; nothing: they do not know it. */
function runs(world: World, name: string): string[] {
  return [...world.fleet.running().values()]
    .filter(({ manifest }) => manifest.pool === `mail/${name}`)
    .map(({ tenants, credentials, dkimKeys }) => {
      const acme = tenants.get("mail/acme");
      return acme === undefined ? "" : `${acme.state} ${credentials.length} ${dkimKeys.length}`;
    });
}

const untilRuns = (world: World, name: string, wanted: string) =>
  until(
    `the pods of ${name} to run "${wanted}"`,
    () => runs(world, name).length === 2 && runs(world, name).every((one) => one === wanted),
  );
const left = (world: World) => () => world.message("tenants", "acme", "Moving");
const isGone = (world: World) => () => world.get("tenants", "acme") === undefined;
const generationOf = (world: World, name: string) =>
  world.engine.context.configuration.pool(name)?.generation;

test("a tenant that is moved sends from its new pool, and the old one sends what is left, signed", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 3);
  move(world, "other");
  await untilRuns(world, "other", "Active 1 1");
  await untilRuns(world, "shared", "Reject 0 1");
  await until(
    "what is left to be told",
    () => left(world)() === "3 messages are queued in the pool mail/shared",
  );
  assert.equal(world.conditions("tenants", "acme")["Moving"], "True LeftBehind");
  assert.equal(world.conditions("tenants", "acme")["Ready"], "True Ready");
  const status = world.get("pools", "shared")?.["status"];
  assert.equal(Reflect.get(status ?? {}, "tenants"), 0, "it is no tenant of that pool any more");
  await scene.empty("shared");
  await untilRuns(world, "shared", "");
  await until("nothing to be left", () => left(world)() === "");
  await untilRuns(world, "other", "Active 1 1");
});

test("a key that a moved tenant revokes is out of use in the pool that it left, too", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 1);
  move(world, "other");
  await untilRuns(world, "shared", "Reject 0 1");
  world.api.state.remove(kinds.secrets, "mail", "acme-dkim");
  await untilRuns(world, "other", "Active 1 0");
  await untilRuns(world, "shared", "Reject 0 0");
});

test("one that comes back is itself again in the first pool, and drains in the second", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 1);
  move(world, "other");
  await untilRuns(world, "other", "Active 1 1");
  await scene.queue("other", 2);
  move(world, "shared");
  await untilRuns(world, "shared", "Active 1 1");
  await untilRuns(world, "other", "Reject 0 1");
  await until(
    "what is left to be told",
    () => left(world)() === "2 messages are queued in the pool mail/other",
  );
});

test("the next operator goes on with a move, and makes no new configuration for it", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 3);
  move(world, "other");
  await untilRuns(world, "shared", "Reject 0 1");
  await until("what is left to be told", () => left(world)() !== "");
  const before = generationOf(world, "mail/shared");
  await world.restartOperator();
  await until("a compile", () => generationOf(world, "mail/shared") !== undefined);
  assert.equal(generationOf(world, "mail/shared"), before);
  await scene.empty("shared");
  await untilRuns(world, "shared", "");
});

test("a move that no operator saw is one all the same", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 3);
  await world.restartOperator(() => move(world, "other"));
  await untilRuns(world, "other", "Active 1 1");
  await untilRuns(world, "shared", "Reject 0 1");
  await until("what is left to be told", () => left(world)() !== "");
});

const refused = (world: World, name: string) => {
  move(world, name);
  return until(
    "the reference to be refused",
    () => world.conditions("tenants", "acme")["ResolvedRefs"] === "False PoolNotFound",
  );
};

test("a tenant that names a pool which is not there stays in its own, until one takes it", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await refused(world, "othre");
  const expected = "spec.poolRef: expected the SendingPool mail/othre";
  const message = `${expected}, got no such SendingPool, so it stays in mail/shared`;
  assert.equal(world.message("tenants", "acme", "ResolvedRefs"), message);
  world.api.state.create(kinds.tenants, tenant("emca"));
  await until("another compile", () => world.conditions("tenants", "emca")["Ready"] === "True Ready");
  assert.deepEqual(runs(world, "shared"), ["Active 1 1", "Active 1 1"]);
  assert.equal(world.conditions("tenants", "acme")["Programmed"], "True Programmed");
  assert.equal(left(world)(), "");
  move(world, "other");
  await untilRuns(world, "other", "Active 1 1");
  await untilRuns(world, "shared", "Reject 0 1");
});

test("the next operator leaves it there, too, and takes the edit back as if nothing had been", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await world.restartOperator(() => move(world, "othre"));
  await until(
    "the reference to be refused",
    () => world.conditions("tenants", "acme")["ResolvedRefs"] === "False PoolNotFound",
  );
  const before = generationOf(world, "mail/shared");
  await world.restartOperator();
  await until("a compile", () => generationOf(world, "mail/shared") !== undefined);
  assert.deepEqual(runs(world, "shared"), ["Active 1 1", "Active 1 1"]);
  move(world, "shared");
  await until("it to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  assert.equal(generationOf(world, "mail/shared"), before);
});

test("one that is deleted while its pool is misspelt drains where it is", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 2);
  await refused(world, "othre");
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await untilRuns(world, "shared", "Reject 0 1");
  await until(
    "it to be told",
    () => world.message("tenants", "acme", "Deleting") === "2 messages are queued",
  );
  await scene.empty("shared");
  await until("it to go", isGone(world));
});

test("a tenant that is deleted stays until both pools have sent its mail", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("shared", 3);
  move(world, "other");
  await untilRuns(world, "other", "Active 1 1");
  await scene.queue("other", 1);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  const told = (text: string) =>
    until(`"${text}"`, () => world.message("tenants", "acme", "Deleting") === text);
  await told("1 messages are queued; 3 messages are queued in the pool mail/shared");
  await untilRuns(world, "other", "Reject 0 1");
  await scene.empty("other");
  await told("3 messages are queued in the pool mail/shared");
  await world.restartOperator();
  await untilRuns(world, "shared", "Reject 0 1");
  await scene.empty("shared");
  await until("it to go", isGone(world));
});

test("mail that was left behind before anybody looked for it is found when the tenant is deleted", async () => {
  await using scene = await startScene();
  const { world } = scene;
  await scene.queue("other", 2);
  world.api.state.remove(kinds.tenants, "mail", "acme");
  await untilRuns(world, "other", "Reject 0 1");
  await scene.empty("other");
  await until("it to go", isGone(world));
});
