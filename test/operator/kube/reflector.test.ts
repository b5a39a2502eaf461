import assert from "node:assert/strict";
import { test } from "node:test";
import { createReflector, type ReflectorOptions } from "#operator/kube/reflector.ts";
import type { KubeObject, Reflector } from "#operator/kube/types.ts";
import { type FakeApiServer, startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { until } from "#test/kit/until.ts";
import { configMap, configMaps, fastClock, secrets, tenant, tenants, transportTo } from "./kit.ts";

const types = [tenants, configMaps, secrets];

interface Seen extends Disposable {
  readonly reflector: Reflector;
  /** `+name@version`, `-name`; a trailing `*` = initial. */
  readonly told: string[];
}

function reflect(api: FakeApiServer, options: Partial<ReflectorOptions> = {}): Seen {
  const told: string[] = [];
  const clock = options.clock ?? fastClock(100);
  const reflector = createReflector({
    client: { transport: transportTo(api, clock) },
    clock,
    random: () => 0.5,
    type: tenants,
    onChange: ({ name }, object, { isInitial }) =>
      told.push(
        `${object === undefined ? "-" : "+"}${name}${object === undefined ? "" : `@${object.metadata.resourceVersion}`}${isInitial ? "*" : ""}`,
      ),
    ...options,
  });
  return { reflector, told, [Symbol.dispose]: () => reflector.stop() };
}

const acme = { namespace: "mail", name: "acme" };

test("createReflector() lists, then follows what is made, changed and deleted", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.create(tenants, tenant("acme"));
  using seen = reflect(api);
  assert.equal(seen.reflector.synced(), false);
  await seen.reflector.whenSynced();
  api.state.create(tenants, tenant("other"));
  api.state.patch(tenants, acme, { spec: { weight: 2 } });
  api.state.remove(tenants, "mail", "other");
  await until("the end", () => seen.told.length === 4);
  assert.deepEqual(seen.told, ["+acme@101*", "+other@102", "+acme@103", "-other"]);
  const held = seen.reflector.store.get("mail/acme");
  assert.deepEqual(
    [held?.kind, held?.apiVersion, held?.["spec"]],
    ["Tenant", "mailboat.dev/v1alpha1", { weight: 2 }],
  );
  assert.equal(held?.metadata["managedFields"], undefined);
  assert.equal(seen.reflector.resourceVersion(), "104");
});

test("a list above one page is synced only when it is read to its end, and tells each object once", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 25; n += 1) api.state.create(tenants, tenant(`t-${n}`));
  using seen = reflect(api, { tuning: { pageSize: 10 } });
  await seen.reflector.whenSynced();
  assert.equal(seen.told.length, 25);
  assert.equal(api.requests.filter(({ isWatch }) => !isWatch).length, 3);
});

test("a list that expires between pages begins again, and what went meanwhile is told to be gone", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 25; n += 1) api.state.create(tenants, tenant(`t-${n + 10}`));
  api.faults = ({ query }) => {
    if (query.get("continue") === null || api.requests.length > 2) return undefined;
    api.state.remove(tenants, "mail", "t-10");
    api.compact();
    return undefined;
  };
  using seen = reflect(api, { tuning: { pageSize: 10 } });
  await seen.reflector.whenSynced();
  assert.equal(seen.reflector.store.size, 24);
  assert.deepEqual([seen.told[0], seen.told.at(-1), seen.told.length], ["+t-10@101*", "-t-10*", 26]);
});

test("a watch resumes from the last version, bookmarks included, without another list", async () => {
  await using api = await startFakeApiServer({ types });
  using seen = reflect(api);
  await until("a watch", () => api.watches() === 1);
  api.state.create(configMaps, configMap("elsewhere", {}));
  api.bookmark();
  await until("the bookmark", () => seen.reflector.resourceVersion() === "101");
  api.cut();
  await until("a second watch", () => api.requests.filter(({ isWatch }) => isWatch).length === 2);
  assert.equal(api.requests.at(-1)?.query.get("resourceVersion"), "101");
  assert.equal(api.requests.filter(({ isWatch }) => !isWatch).length, 1);
});

test("a watch whose version is gone is replaced by a list that tells what was missed, deletions too", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.create(tenants, tenant("acme"));
  api.state.create(tenants, tenant("other"));
  using seen = reflect(api);
  await until("a watch", () => api.watches() === 1);
  api.holdWatches();
  api.state.remove(tenants, "mail", "acme");
  api.state.create(tenants, tenant("new"));
  api.compact();
  await until("another watch", () => api.requests.filter(({ isWatch }) => isWatch).length === 2);
  assert.deepEqual(seen.told.slice(2), ["+new@104", "-acme"]);
});

test("an object deleted and made again out of sight is one change between two uids", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.create(tenants, tenant("acme"));
  const uids: (string | undefined)[] = [];
  using seen = reflect(api, {
    onChange: (_, object, { before }) => uids.push(before?.metadata.uid, object?.metadata.uid),
  });
  await until("a watch", () => api.watches() === 1);
  api.holdWatches();
  api.state.remove(tenants, "mail", "acme");
  api.state.create(tenants, tenant("acme"));
  api.compact();
  await until("the change", () => uids.length === 4);
  assert.deepEqual(uids, [undefined, "uid-1", "uid-1", "uid-2"]);
  assert.equal(seen.reflector.store.size, 1);
});

test("429 with Retry-After is waited for, by list and by watch", async () => {
  await using api = await startFakeApiServer({ types });
  const clock = fastClock(100);
  const times: number[] = [];
  api.faults = () => {
    times.push(clock.monotonic());
    return times.length % 2 === 1 ? { kind: "status", code: 429, retryAfterSeconds: 20 } : undefined;
  };
  using _ = reflect(api, { clock });
  await until("a watch", () => api.watches() === 1);
  const [list = 0, again = 0, watch = 0, rewatch = 0] = times;
  assert.ok(again - list >= 19_500 && rewatch - watch >= 19_500, times.join(" "));
});

test("a watch that says nothing is destroyed at the idle limit and opened again", async () => {
  await using api = await startFakeApiServer({ types });
  using seen = reflect(api, { tuning: { idleMs: 6000 } });
  await until("a watch", () => api.watches() === 1);
  api.holdWatches();
  api.state.create(tenants, tenant("acme"));
  await until("another watch", () => api.requests.filter(({ isWatch }) => isWatch).length >= 3);
  api.releaseWatches();
  await until("the change", () => seen.told.length === 1);
  assert.equal(api.requests.filter(({ isWatch }) => !isWatch).length, 1);
});

test("an outage makes the store old, not empty, and the reflector comes back", async () => {
  const first = await startFakeApiServer({ types });
  first.state.create(tenants, tenant("acme"));
  using seen = reflect(first);
  await until("a watch", () => first.watches() === 1);
  const port = Number(new URL(first.url).port);
  await first[Symbol.asyncDispose]();
  await until("silence", () => seen.reflector.silentMs() > 5000);
  assert.equal(seen.reflector.store.size, 1);
  // Restored from a backup: versions are lower than those we know, and one object is missing.
  await using second = await startFakeApiServer({ types, port });
  second.state.rewind(50);
  second.state.create(tenants, tenant("restored"));
  await until("the restored state", () => seen.reflector.store.has("mail/restored"));
  assert.deepEqual([...seen.reflector.store.keys()], ["mail/restored"]);
});

test("metadataOnly asks for metadata, keeps metadata, and names the real kind", async () => {
  await using api = await startFakeApiServer({ types });
  const secret = (name: string): KubeObject => ({ ...configMap(name, { password: "x" }), kind: "Secret" });
  api.state.create(secrets, secret("listed"));
  using seen = reflect(api, { type: secrets, metadataOnly: true });
  await until("a watch", () => api.watches() === 1);
  api.state.create(secrets, secret("watched"));
  await until("both", () => seen.told.length === 2);
  for (const object of seen.reflector.store.values()) {
    assert.deepEqual(Object.keys(object).sort(), ["apiVersion", "kind", "metadata"]);
    assert.deepEqual([object.apiVersion, object.kind], ["v1", "Secret"]);
  }
  assert.ok(
    api.requests.every(({ headers }) =>
      headers.accept?.startsWith("application/json;as=PartialObjectMetadata"),
    ),
  );
});

test("objects that leave the selection are told to be gone, those that enter it to be there", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.create(tenants, tenant("acme", {}, { labels: { pool: "a" } }));
  using seen = reflect(api, { labelSelector: "pool=a", namespace: "mail" });
  await until("a watch", () => api.watches() === 1);
  api.state.patch(tenants, acme, { metadata: { labels: { pool: "b" } } });
  api.state.create(tenants, tenant("elsewhere", {}, { namespace: "other", labels: { pool: "a" } }));
  api.state.patch(tenants, acme, { metadata: { labels: { pool: "a" } } });
  await until("three changes", () => seen.told.length === 3);
  assert.deepEqual(seen.told, ["+acme@101*", "-acme", "+acme@104"]);
});

test("an event above the bound of a line is come by with a list", async () => {
  await using api = await startFakeApiServer({ types });
  using seen = reflect(api, { tuning: { maxLineBytes: 10_000 } });
  await until("a watch", () => api.watches() === 1);
  api.state.create(tenants, tenant("acme", { text: "x".repeat(20_000) }));
  await until("the object", () => seen.reflector.store.has("mail/acme"));
  api.state.create(tenants, tenant("other"));
  await until("the next", () => seen.reflector.store.has("mail/other"));
});

test("what onChange throws harms nothing", async () => {
  await using api = await startFakeApiServer({ types });
  const errors: unknown[] = [];
  const silent = () => undefined;
  using seen = reflect(api, {
    onChange: () => {
      throw new Error("a bug");
    },
    log: { debug: silent, info: silent, warn: silent, error: (verb) => errors.push(verb) },
  });
  await until("a watch", () => api.watches() === 1);
  api.state.create(tenants, tenant("acme"));
  await until("the object", () => seen.reflector.store.has("mail/acme"));
  assert.deepEqual(errors, ["on-change-failed"]);
});

test("after stop() nothing is told and nothing is asked", async () => {
  await using api = await startFakeApiServer({ types });
  using seen = reflect(api);
  await until("a watch", () => api.watches() === 1);
  seen.reflector.stop();
  await until("no watch", () => api.watches() === 0);
  const asked = api.requests.length;
  api.state.create(tenants, tenant("acme"));
  using other = reflect(api);
  await other.reflector.whenSynced();
  assert.deepEqual([seen.told, api.requests.length - asked <= 2], [[], true]);
});
