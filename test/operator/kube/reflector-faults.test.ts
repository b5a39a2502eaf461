import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { keyOf } from "#operator/kube/paths.ts";
import { createReflector } from "#operator/kube/reflector.ts";
import type { KubeObject, Random } from "#operator/kube/types.ts";
import { compareVersions } from "#operator/kube/versions.ts";
import {
  type FakeApiServer,
  type FakeRequest,
  type Fault,
  startFakeApiServer,
  type WatchFault,
} from "#test/kit/fake-api-server.ts";
import { configMap, configMaps, fastClock, seeded, settle, tenant, tenants, transportTo } from "./kit.ts";

// A failure names its seed: FAULT_SEED=N runs that one alone.
const schedules = 1000;
const only = process.env["FAULT_SEED"];
const seeds = only === undefined ? Array.from({ length: schedules }, (_, seed) => seed) : [Number(only)];
const lanes = 16;
const clock = fastClock(1000);

const watchFaults: readonly WatchFault[] = [
  "cut",
  "end",
  "silent",
  "expire",
  "error",
  "garbage",
  "repeat",
  "swap",
];

function pick<Value>(random: Random, values: readonly Value[]): Value {
  const value = values[Math.floor(random() * values.length)];
  assert.ok(value !== undefined);
  return value;
}

/** A fault in nearly half of the requests; a watch keeps the fault that it was given. */
function faultsOf(random: Random): (request: FakeRequest) => Fault | undefined {
  const given = new WeakMap<FakeRequest, { readonly fault: Fault | undefined }>();
  const draw = (request: FakeRequest): Fault | undefined => {
    if (random() < 0.55) return undefined;
    const kind = random();
    if (kind < 0.1) return { kind: "hang" };
    if (kind < 0.25) return { kind: "cut" };
    if (kind < 0.35) return { kind: "cut-answer", afterBytes: Math.floor(random() * 400) };
    if (kind < 0.5 || !request.isWatch) {
      const code = pick(random, [429, 500, 503, 504, 410, 429]);
      if (code === 410 && !request.isWatch && request.query.get("continue") === null) return { kind: "cut" };
      return { kind: "status", code, ...(random() < 0.5 ? { retryAfterSeconds: 1 } : {}) };
    }
    return { kind: "watch", after: Math.floor(random() * 3), then: pick(random, watchFaults) };
  };
  return (request) => {
    const known = given.get(request) ?? { fault: draw(request) };
    given.set(request, known);
    return known.fault;
  };
}

/** A user, or an outage: one thing happens. */
function happen(api: FakeApiServer, random: Random): void {
  const name = `t-${Math.floor(random() * 8)}`;
  const labels = { pool: pick(random, ["a", "b"]) };
  const known = api.state.get(tenants, "mail", name);
  const what = random();
  if (what < 0.55) {
    if (known === undefined) api.state.create(tenants, tenant(name, { n: random() }, { labels }));
    else
      api.state.patch(tenants, { namespace: "mail", name }, { spec: { n: random() }, metadata: { labels } });
  } else if (what < 0.75) {
    if (known !== undefined) api.state.remove(tenants, "mail", name);
  } else if (what < 0.8) api.state.create(configMaps, configMap(`c-${random()}`, {}));
  else if (what < 0.85) api.compact();
  else if (what < 0.89) api.cut();
  else if (what < 0.93) api.bookmark();
  else if (what < 0.97) api.holdWatches();
  else api.releaseWatches();
}

async function converges(api: FakeApiServer, seed: number): Promise<void> {
  const random = seeded(seed);
  const labelSelector = random() < 0.3 ? "pool=a" : undefined;
  const metadataOnly = random() < 0.2;
  const mirror = new Map<string, KubeObject>();
  for (let n = 0; n < 4; n += 1) happen(api, random);
  api.faults = faultsOf(random);
  const reflector = createReflector({
    client: { transport: transportTo(api, clock, 20_000) },
    clock,
    random,
    type: tenants,
    labelSelector,
    metadataOnly,
    tuning: { pageSize: 1 + Math.floor(random() * 5), idleMs: 40_000 },
    onChange(ref, object, { before }) {
      const key = keyOf(ref);
      assert.equal(mirror.get(key), before, `seed ${seed}: ${key} was not what onChange was told before`);
      const older = compareVersions(object?.metadata.resourceVersion, before?.metadata.resourceVersion);
      assert.ok(older === undefined || older > 0, `seed ${seed}: ${key} went back in time`);
      if (object === undefined) mirror.delete(key);
      else mirror.set(key, object);
    },
    log: {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (_, fields) => failed.push(JSON.stringify(fields)),
    },
  });
  const failed: string[] = [];
  try {
    for (let n = 0; n < 25; n += 1) {
      happen(api, random);
      await settle(Math.floor(random() * 8));
    }
    api.faults = undefined;
    api.releaseWatches();
    const versionsOf = (objects: Iterable<KubeObject>) =>
      [...objects]
        .map(({ metadata }) => `${metadata.name}@${metadata.uid}@${metadata.resourceVersion}`)
        .sort()
        .join(" ");
    const wanted = versionsOf(
      api.state
        .list(tenants)
        .flatMap(([, object]) =>
          labelSelector === undefined || object.metadata.labels?.["pool"] === "a" ? [object] : [],
        ),
    );
    const deadline = performance.now() + 30_000;
    while (!reflector.synced() || versionsOf(reflector.store.values()) !== wanted) {
      if (performance.now() > deadline)
        assert.fail(`seed ${seed}: expected ${wanted}, got ${versionsOf(reflector.store.values())}`);
      await delay(2);
    }
    assert.equal(versionsOf(mirror.values()), wanted, `seed ${seed}: what onChange told`);
    assert.deepEqual(failed, [], `seed ${seed}`);
  } finally {
    reflector.stop();
    api.faults = undefined;
    api.cut();
  }
}

const servers: FakeApiServer[] = [];
before(async () => {
  for (let n = 0; n < lanes; n += 1) servers.push(await startFakeApiServer({ types: [tenants, configMaps] }));
});
after(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]();
});

test(`the store converges to the API server's state in ${schedules} random fault schedules, no update lost`, async (t) => {
  const left = [...seeds];
  await Promise.all(
    servers.map(async (server) => {
      for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
        await converges(server, seed);
        for (const [, { metadata }] of server.state.list(tenants))
          server.state.remove(tenants, metadata.namespace, metadata.name);
        server.requests.length = 0;
      }
    }),
  );
  const done = new Map<string, number>();
  for (const { faultsDone } of servers)
    for (const [fault, times] of faultsDone) done.set(fault, (done.get(fault) ?? 0) + times);
  t.diagnostic(`faults done: ${JSON.stringify(Object.fromEntries(done))}`);
  const rare = watchFaults.filter((fault) => only === undefined && (done.get(`watch-${fault}`) ?? 0) < 20);
  assert.deepEqual(rare, [], "watch faults that hardly happened");
});
