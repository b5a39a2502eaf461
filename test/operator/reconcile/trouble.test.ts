import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "#operator/reconcile/kinds.ts";
import type { FakeRequest, Fault } from "#test/kit/fake-api-server.ts";
import { until } from "#test/kit/until.ts";
import { pool, rule, secret, shape, startWorld, tenant, type World } from "./world.ts";

/** The same numbers for the same seed (mulberry32). */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Half of all writes refused or lost on their way, some after they were done; watches that end, lie twice and expire. */
function trouble(random: () => number): (request: FakeRequest) => Fault | undefined {
  return ({ method, isWatch }) => {
    if (isWatch)
      return random() < 0.02
        ? { kind: "watch", after: Math.floor(random() * 5), then: random() < 0.5 ? "cut" : "expire" }
        : undefined;
    if (method === "GET") return random() < 0.1 ? { kind: "status", code: 503 } : undefined;
    const one = random();
    if (one < 0.2) return { kind: "status", code: 500 };
    if (one < 0.3) return { kind: "status", code: 429, retryAfterSeconds: 0 };
    if (one < 0.4) return { kind: "cut" };
    return one < 0.5 ? { kind: "cut-answer" } : undefined;
  };
}

const credentials = [{ name: "app", type: "Password", secretRef: { name: "login" } }];

/** What a user does, the same each time. */
async function live(world: World): Promise<void> {
  const { state } = world.api;
  state.create(kinds.shapes, shape());
  state.create(kinds.pools, pool(world.nats.url, { trafficShapeRefs: [{ name: "providers" }] }));
  for (let index = 0; index < 12; index++)
    state.create(kinds.tenants, tenant(`t${index}`, index === 0 ? { credentials } : {}));
  await until("some pod", () => world.fleet.running().size > 0, 60_000);
  state.create(kinds.secrets, secret("login", { username: "app", password: "secret" }));
  state.patch(kinds.shapes, { namespace: "mail", name: "providers" }, { spec: { rules: [rule("any", 5)] } });
  state.patch(kinds.tenants, { namespace: "mail", name: "t3" }, { spec: { weight: 9 } });
  state.patch(kinds.pools, { namespace: "mail", name: "shared" }, { spec: { replicas: 3 } });
  state.remove(kinds.tenants, "mail", "t5");
}

/** Everything that the operator made, without what differs from run to run. */
function endState(world: World): string {
  const { state } = world.api;
  const children = [
    kinds.configMaps,
    kinds.secrets,
    kinds.services,
    kinds.deployments,
    kinds.budgets,
    kinds.serviceAccounts,
  ]
    .flatMap((type) => state.list(type).map(([, one]) => one))
    .filter(({ metadata }) => metadata.name !== "mailboat-shared-admin")
    .map(({ kind, metadata, spec, data, binaryData }) => {
      // Which slot was written last differs; that pods make the same of them is below.
      const { "pool.json": _manifest, ...rest } = (data ?? {}) as Record<string, string>;
      const files = Object.entries(rest).filter(([name]) => !name.endsWith(".edition.json"));
      const text = JSON.stringify({ spec, data: files, binaryData });
      const same = text.replaceAll(world.nats.url, "nats://nats");
      return `${kind}/${metadata.name} ${same.replaceAll(/"(00|mailboat.dev\/read-at-start)":"[^"]*"/g, "")}`;
    });
  const conditions = ["t0", "t3", "t11"].map((name) => JSON.stringify(world.conditions("tenants", name)));
  const pods = [...world.fleet.running().values()].map(({ manifest }) => {
    const { generation: _generation, digest: _digest, queue: _queue, ...content } = manifest;
    return JSON.stringify(content);
  });
  return [...children, ...conditions, ...pods, JSON.stringify(world.conditions("pools", "shared"))]
    .sort()
    .join("\n");
}

function isSettled(world: World): boolean {
  const pods = [...world.fleet.running().values()];
  const generation = world.engine.context.configuration.pool("mail/shared")?.generation;
  return (
    pods.length === 3 &&
    pods.every(
      ({ manifest, credentials: logins, tenants }) =>
        manifest.generation === generation &&
        manifest.rules[0]?.limits.connections === 5 &&
        logins.length === 1 &&
        tenants.size === 11,
    ) &&
    world.get("tenants", "t5") === undefined &&
    Array.from({ length: 12 }, (_, index) => index).every(
      (index) => index === 5 || world.conditions("tenants", `t${index}`)["Ready"] === "True Ready",
    ) &&
    world.conditions("pools", "shared")["Ready"] === "True Ready"
  );
}

async function run(seed: number | undefined, restarts: number): Promise<string> {
  await using world = await startWorld();
  const random = chance(seed ?? 0);
  if (seed !== undefined) world.api.faults = trouble(random);
  await live(world);
  for (let index = 0; index < restarts; index++) {
    await until(
      "some writes",
      () => world.api.requests.filter(({ method }) => method === "PATCH").length > 20 * (index + 1),
      60_000,
    );
    await world.restartOperator();
  }
  if (seed !== undefined)
    await until(
      "faults enough",
      () => [...world.api.faultsDone.values()].reduce((sum, one) => sum + one, 0) > 30,
      60_000,
    );
  await until(`the end, seed ${seed}`, () => isSettled(world), 120_000);
  return endState(world);
}

test("half of all writes refused, watches cut and expired, the operator ended in between: the end state is the same", async () => {
  const expected = await run(undefined, 0);
  assert.match(expected, /Deployment\/mailboat-shared/);
  for (const seed of [1, 2]) assert.equal(await run(seed, 2), expected, `seed ${seed}`);
});
