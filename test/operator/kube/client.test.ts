import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { createClient } from "#operator/kube/client.ts";
import { KubeError } from "#operator/kube/errors.ts";
import type { KubeClient, KubeObject } from "#operator/kube/types.ts";
import { type FakeApiServer, type Fault, startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { configMap, configMaps, fastClock, leases, secrets, tenant, tenants } from "./kit.ts";

const types = [tenants, configMaps, secrets, leases];
const counted: string[] = [];

function clientOf(api: FakeApiServer, options: object = {}): KubeClient {
  return createClient({
    kubeconfig: api.kubeconfig,
    clock: fastClock(100),
    random: () => 0.5,
    metrics: {
      request: (code, method) => counted.push(`${method} ${code}`),
      queue: () => assert.fail("no queue here"),
      leading: () => undefined,
    },
    ...options,
  });
}

/** Answers the next requests with these faults, one each. */
function inTurn(...faults: (Fault | undefined)[]): () => Fault | undefined {
  return () => faults.shift();
}

async function failure(call: Promise<unknown>): Promise<KubeError> {
  const error = await call.then(
    () => assert.fail("expected a refusal"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KubeError, String(error));
  return error;
}

test("createClient() reads, writes and deletes objects", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  const ref = { namespace: "mail", name: "a" };
  assert.equal(await client.get(configMaps, ref), undefined);
  const made = await client.create(configMaps, configMap("a", { k: "1" }));
  assert.equal(made.metadata.resourceVersion, "101");
  assert.equal(made.metadata["managedFields"], undefined);
  assert.equal((await failure(client.create(configMaps, configMap("a", {})))).reason, "AlreadyExists");
  const patched = await client.patch(configMaps, ref, { data: { k: null, l: "2" } });
  assert.deepEqual(Object.keys(patched ?? {}).sort(), ["apiVersion", "kind", "metadata"]);
  assert.deepEqual((await client.get(configMaps, ref))?.["data"], { l: "2" });
  assert.equal(await client.patch(configMaps, { ...ref, name: "b" }, {}), undefined);
  const stale = { metadata: { resourceVersion: "101" }, data: { m: "3" } };
  assert.equal((await failure(client.patch(configMaps, ref, stale))).reason, "Conflict");
  assert.equal((await failure(client.delete(configMaps, ref, { uid: "another" }))).status, 409);
  assert.equal(await client.delete(configMaps, ref, { uid: made.metadata.uid ?? "" }), true);
  assert.equal(await client.delete(configMaps, ref), false);
  assert.ok(counted.includes("POST 201") && counted.includes("DELETE 404"));
});

test("apply() makes, changes and drops fields of its own, and writes nothing when nothing differs", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  await client.apply(configMaps, configMap("a", { k: "1", l: "2" }));
  api.state.patch(configMaps, { namespace: "mail", name: "a" }, { data: { theirs: "3" } });
  const second = await client.apply(configMaps, configMap("a", { k: "1" }));
  assert.equal(Object.hasOwn(second, "data"), false, "its metadata alone is sent back");
  const stored = await client.get(configMaps, { namespace: "mail", name: "a" });
  assert.deepEqual(stored?.["data"], { k: "1", theirs: "3" });
  const again = await client.apply(configMaps, configMap("a", { k: "1" }));
  assert.equal(again.metadata.resourceVersion, second.metadata.resourceVersion);
  const [request] = api.requests;
  assert.equal(request?.headers["content-type"], "application/apply-patch+yaml");
  assert.equal(request?.query.get("fieldManager"), "mailboat");
  assert.equal(request?.query.get("force"), "true");
});

test("apply() with the status subresource changes the status alone", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  await client.apply(tenants, tenant("acme", { weight: 1 }));
  const status = { conditions: [{ type: "Ready", status: "True" }] };
  const given = { ...tenant("acme", { weight: 9 }), status };
  const answer = await client.apply(tenants, given, { subresource: "status" });
  const stored = await client.get(tenants, { namespace: "mail", name: "acme" });
  assert.deepEqual([stored?.["spec"], stored?.["status"]], [{ weight: 1 }, status]);
  assert.equal(answer.metadata.generation, 1);
});

test("apply() without force is refused where another manager says otherwise", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.apply(configMaps, configMap("a", { k: "theirs" }), { manager: "kubectl" });
  const error = await failure(
    clientOf(api).apply(configMaps, configMap("a", { k: "ours" }), { force: false }),
  );
  assert.deepEqual([error.status, error.reason], [409, "Conflict"]);
});

test("list() reads all pages of one snapshot, with kind and apiVersion on each item", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 1203; n += 1) api.state.create(configMaps, configMap(`c-${n}`, {}));
  let pages = 0;
  api.faults = () => {
    pages += 1;
    // Seen by no page but the first: the others are of the snapshot.
    if (pages === 2) api.state.create(configMaps, configMap("z-late", {}));
    return undefined;
  };
  const { items, resourceVersion } = await clientOf(api).list(configMaps);
  assert.deepEqual([pages, items.length, resourceVersion], [3, 1203, String(100 + 1203)]);
  assert.ok(items.every(({ kind, apiVersion }) => kind === "ConfigMap" && apiVersion === "v1"));
});

test("list() begins again when its version expires between two pages, and keeps nothing of before", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 700; n += 1) api.state.create(configMaps, configMap(`c-${n}`, {}));
  api.faults = (request) => {
    if (request.query.get("continue") === null || api.requests.length > 2) return undefined;
    api.state.remove(configMaps, "mail", "c-1");
    api.compact();
    return undefined;
  };
  const { items } = await clientOf(api).list(configMaps);
  assert.equal(items.length, 699);
  assert.equal(api.requests.length, 4);
});

test("list() that expires again and again is read whole at last", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 700; n += 1) api.state.create(configMaps, configMap(`c-${n}`, {}));
  api.faults = (request) =>
    request.query.get("continue") === null ? undefined : { kind: "status", code: 410, reason: "Expired" };
  assert.equal((await clientOf(api).list(configMaps)).items.length, 700);
});

test("list() takes smaller pages where one is above the bound of bytes", async () => {
  await using api = await startFakeApiServer({ types });
  for (let n = 0; n < 100; n += 1) api.state.create(configMaps, configMap(`c-${n}`, { k: "x".repeat(2000) }));
  const { items } = await clientOf(api, { maxBytes: 100_000 }).list(configMaps);
  assert.equal(items.length, 100);
});

test("an answer above the bound of bytes is refused", async () => {
  await using api = await startFakeApiServer({ types });
  api.state.create(configMaps, configMap("a", { k: "x".repeat(200_000) }));
  const call = clientOf(api, { maxBytes: 100_000 }).get(configMaps, { namespace: "mail", name: "a" });
  assert.equal((await failure(call)).reason, "TooLarge");
});

const once: readonly [string, Fault][] = [
  ["429 with Retry-After", { kind: "status", code: 429, retryAfterSeconds: 1 }],
  ["503", { kind: "status", code: 503, retryAfterSeconds: 2 }],
  ["500", { kind: "status", code: 500 }],
  ["a cut socket", { kind: "cut" }],
  ["an answer cut off", { kind: "cut-answer", afterBytes: 20 }],
  ["a lost answer", { kind: "cut-answer" }],
];
for (const [what, fault] of once)
  test(`reads and applies survive ${what}`, async () => {
    await using api = await startFakeApiServer({ types });
    const client = clientOf(api);
    api.faults = inTurn(fault, undefined, fault, undefined, fault);
    assert.equal(
      (await client.apply(configMaps, configMap("a", { k: "1" }))).metadata.resourceVersion,
      "101",
    );
    assert.equal((await client.get(configMaps, { namespace: "mail", name: "a" }))?.metadata.name, "a");
    assert.equal((await client.list(configMaps)).items.length, 1);
    assert.equal(api.requests.length, 6);
  });

test("create() is repeated after 429, which did nothing, and not after a lost answer, which may have", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  api.faults = inTurn({ kind: "status", code: 429, retryAfterSeconds: 1 });
  await client.create(configMaps, configMap("a", {}));
  assert.equal(api.requests.length, 2);
  api.faults = inTurn({ kind: "cut-answer" });
  assert.equal((await failure(client.create(configMaps, configMap("b", {})))).reason, "Unreachable");
  assert.equal(api.requests.length, 3);
  assert.equal((await client.get(configMaps, { namespace: "mail", name: "b" }))?.metadata.name, "b");
});

test("repetitions end within 30 s by the clock, and the error says what the API server said", async () => {
  await using api = await startFakeApiServer({ types });
  api.faults = () => ({ kind: "status", code: 503, reason: "ServiceUnavailable", retryAfterSeconds: 8 });
  const error = await failure(clientOf(api).get(configMaps, { namespace: "mail", name: "a" }));
  assert.deepEqual([error.status, error.reason, error.retryAfterMs], [503, "ServiceUnavailable", 8000]);
  assert.ok(api.requests.length >= 2 && api.requests.length <= 4, `${api.requests.length} attempts`);
  assert.match(error.message, /GET \/api\/v1\/namespaces\/mail\/configmaps\/a: expected success, got 503/);
});

test("a server that never answers ends in a time-out", async () => {
  await using api = await startFakeApiServer({ types });
  api.faults = () => ({ kind: "hang" });
  const error = await failure(clientOf(api, { timeoutMs: 5000 }).create(configMaps, configMap("a", {})));
  assert.deepEqual([error.status, error.reason, error.wasSent], [0, "Timeout", true]);
});

test("a server that is not there is told from one that lost an answer", async () => {
  const api = await startFakeApiServer({ types });
  const client = clientOf(api);
  await api[Symbol.asyncDispose]();
  const error = await failure(client.create(configMaps, configMap("a", {})));
  assert.deepEqual([error.reason, error.wasSent], ["Unreachable", false]);
});

test("hasType() asks the API server what it serves", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  assert.equal(await client.hasType(tenants), true);
  assert.equal(await client.hasType({ ...tenants, plural: "others" }), false);
  assert.equal(await client.hasType({ ...tenants, group: "monitoring.coreos.com", version: "v1" }), false);
  api.faults = () => ({ kind: "status", code: 403, reason: "Forbidden" });
  assert.equal((await failure(client.hasType(tenants))).status, 403);
});

test("references that fit no path are bugs, not requests", async () => {
  await using api = await startFakeApiServer({ types });
  const client = clientOf(api);
  const nowhere: KubeObject = { ...configMap("a", {}), metadata: { name: "a" } };
  await assert.rejects(client.get(configMaps, { name: "a" }), /expected a namespace/);
  await assert.rejects(client.apply(configMaps, nowhere), /expected metadata.namespace/);
  await assert.rejects(client.get(configMaps, { namespace: "mail", name: "" }), /expected a name/);
  assert.equal(api.requests.length, 0);
});

test("a 401 makes the client read its credentials again", async () => {
  let token = "first";
  await using api = await startFakeApiServer({ types, token: () => token });
  const client = clientOf(api);
  assert.deepEqual((await client.list(configMaps)).items, []);
  token = "second";
  writeFileSync(api.kubeconfig, readFileSync(api.kubeconfig, "utf8").replace("first", "second"));
  assert.deepEqual((await client.list(configMaps)).items, []);
  token = "third";
  assert.equal((await failure(client.list(configMaps))).status, 401);
});
