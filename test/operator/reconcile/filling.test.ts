/** Many new tenants at once: what they cost, and that nobody else waits for them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "#operator/reconcile/kinds.ts";
import { until } from "#test/kit/until.ts";
import { pool, secret, startWorld, tenant, type World } from "./world.ts";

/** Of an edit: less than what new tenants may wait for each other. */
const editMs = 5000;

const acme = { namespace: "mail", name: "acme" };
const credentials = [{ name: "app", secretRef: { name: "login" } }];

function isReady(world: World, name: string): boolean {
  return world.conditions("tenants", name)["Ready"] === "True Ready";
}

async function startWithAcme(): Promise<World> {
  const world = await startWorld();
  world.api.state.create(kinds.tenants, tenant("acme"));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("the tenant to be ready", () => isReady(world, "acme"));
  return world;
}

async function editIsLive(world: World): Promise<void> {
  world.api.state.patch(kinds.tenants, acme, { spec: { weight: 7 } });
  await until(
    "the edit in every pod",
    () => [...world.fleet.running().values()].every((one) => one.tenants.get("mail/acme")?.weight === 7),
    editMs,
  );
}

test("each of 120 tenants that are new at once is written twice: its finalizer, and one status once pods run it", async () => {
  await using world = await startWorld();
  const names = Array.from({ length: 120 }, (_, index) => `t${index}`);
  world.api.state.create(kinds.secrets, secret("login", { username: "app", password: "secret" }));
  for (const name of names)
    world.api.state.create(kinds.tenants, tenant(name, name === "t0" ? { credentials } : {}));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("all of them to be ready", () => names.every((name) => isReady(world, name)), 60_000);
  const writes = world.api.requests.filter(
    ({ method, type }) => method === "PATCH" && type?.plural === "tenants",
  );
  const finalizers = writes.filter(({ subresource }) => subresource === undefined);
  assert.equal(finalizers.length, 120);
  // A busy machine may let a pod's answer come after the patience that is had with it: then one is told twice.
  const statuses = writes.length - finalizers.length;
  assert.ok(statuses >= 120 && statuses <= 126, `${statuses} statuses of 120 tenants`);
});

test("while tenants go on arriving and wait for their finalizers, an edit of another is live at once", async () => {
  await using world = await startWithAcme();
  world.api.faults = ({ method, type, name, subresource }) =>
    method === "PATCH" && type?.plural === "tenants" && subresource === undefined && name !== "acme"
      ? { kind: "status", code: 429, retryAfterSeconds: 1 }
      : undefined;
  let made = 0;
  const arrive = (): void => void world.api.state.create(kinds.tenants, tenant(`new${made++}`));
  for (let index = 0; index < 60; index++) arrive();
  const arriving = setInterval(arrive, 200);
  try {
    await until("finalizers to be refused", () => (world.api.faultsDone.get("status") ?? 0) > 30);
    await editIsLive(world);
  } finally {
    clearInterval(arriving);
  }
  world.api.faults = undefined;
  await until(
    "the new ones to be ready",
    () => isReady(world, "new0") && isReady(world, `new${made - 1}`),
    60_000,
  );
});

test("a new tenant whose Secret cannot be read holds nobody up, and comes in with its login", async () => {
  await using world = await startWithAcme();
  world.api.faults = ({ method, type, name, isWatch }) =>
    method === "GET" && type?.plural === "secrets" && name === "login" && !isWatch
      ? { kind: "status", code: 503 }
      : undefined;
  world.api.state.create(kinds.secrets, secret("login", { username: "app", password: "secret" }));
  world.api.state.create(kinds.tenants, tenant("late", { credentials }));
  await until("the read to be refused", () => world.api.faultsDone.get("status") !== undefined);
  await editIsLive(world);
  const lates = () => [...world.fleet.running().values()].map(({ tenants }) => tenants.get("mail/late"));
  assert.equal(
    lates().some((one) => one !== undefined),
    false,
    "not without its login",
  );
  world.api.faults = undefined;
  await until("it to be ready", () => isReady(world, "late"), 60_000);
  assert.deepEqual(
    lates().map((one) => one?.credentials.map(({ name }) => name)),
    [["app"], ["app"]],
  );
});

test("a tenant that could not be read before is in no pod either before it has its finalizer", async () => {
  await using world = await startWithAcme();
  world.api.state.create(kinds.tenants, tenant("odd", { weight: "heavy" }));
  await until("it to be refused", () => world.conditions("tenants", "odd")["Accepted"] === "False Invalid");
  world.api.faults = ({ method, type, name, subresource }) =>
    method === "PATCH" && type?.plural === "tenants" && name === "odd" && subresource === undefined
      ? { kind: "status", code: 429, retryAfterSeconds: 1 }
      : undefined;
  world.api.state.patch(kinds.tenants, { namespace: "mail", name: "odd" }, { spec: { weight: 2 } });
  await until("its finalizer to be refused", () => world.api.faultsDone.get("status") !== undefined);
  await editIsLive(world);
  const odds = () =>
    [...world.fleet.running().values()].map(({ tenants }) => tenants.get("mail/odd")?.weight);
  assert.deepEqual(odds(), [undefined, undefined]);
  world.api.faults = undefined;
  await until("it to be ready", () => isReady(world, "odd"), 60_000);
  assert.deepEqual(odds(), [2, 2]);
});
