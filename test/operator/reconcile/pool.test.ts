import assert from "node:assert/strict";
import { test } from "node:test";
import { tenantSlotOf } from "#crds/pod-config/slots.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { until } from "#test/kit/until.ts";
import { pool, rule, secret, shape, startWorld, tenant, type World } from "./world.ts";

const withShape = { trafficShapeRefs: [{ name: "providers" }] };

async function ready(world: World): Promise<void> {
  await until("the pool to be ready", () => world.conditions("pools", "shared")["Ready"] === "True Ready");
}

function writes(world: World): string[] {
  return world.api.requests
    .filter(({ method, type }) => method !== "GET" && type?.plural !== "events")
    .map(({ method, type, name, subresource }) =>
      `${method} ${type?.plural}/${name ?? ""} ${subresource ?? ""}`.trim(),
    );
}

function connectionsOf(world: World): (number | undefined)[] {
  return [...world.fleet.running().values()].map(({ manifest }) => manifest.rules[0]?.limits.connections);
}

test("a pool, its shape and a tenant come up: children, pods, statuses", async () => {
  await using world = await startWorld();
  const { api } = world;
  api.state.create(kinds.shapes, shape());
  api.state.create(kinds.tenants, tenant("acme"));
  api.state.create(kinds.pools, pool(world.nats.url, withShape));
  await ready(world);
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  await until(
    "the shape to be ready",
    () => world.conditions("shapes", "providers")["Ready"] === "True Ready",
  );
  assert.deepEqual(world.conditions("pools", "shared"), {
    Accepted: "True Accepted",
    ResolvedRefs: "True ResolvedRefs",
    Programmed: "True Programmed",
    Ready: "True Ready",
  });
  const status = world.get("pools", "shared")?.["status"] as Record<string, unknown>;
  assert.equal(status["observedGeneration"], 1);
  assert.equal(status["replicas"], 2);
  assert.equal(status["programmedReplicas"], 2);
  assert.equal(status["tenants"], 1);
  assert.match(String(status["selector"]), /mailboat.dev\/pool=shared/);
  assert.deepEqual(world.get("tenants", "acme")?.metadata.finalizers, ["mailboat.dev/drain"]);
  const written = world.get("deployments", "mailboat-shared");
  assert.equal(written?.metadata.ownerReferences?.[0]?.uid, world.get("pools", "shared")?.metadata.uid);
});

test("what is ready is left alone: nothing is written any more", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.shapes, shape());
  world.api.state.create(kinds.tenants, tenant("acme"));
  world.api.state.create(kinds.pools, pool(world.nats.url, withShape));
  await ready(world);
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  await until("reports", () => world.engine.context.reports.of("mail/shared").told.size === 2);
  world.api.requests.length = 0;
  for (let round = 0; round < 2; round++) {
    const before = world.engine.context.reports.of("mail/shared").told.values().next().value?.at;
    world.engine.context.reports.hurry("mail/shared");
    world.engine.context.configuration.touch();
    await until(
      "another report",
      () => world.engine.context.reports.of("mail/shared").told.values().next().value?.at !== before,
    );
  }
  assert.deepEqual(writes(world), []);
});

test("an edit of a shape is live in every pod within 2 s, by one write of the manifest and a bump of each pod", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.shapes, shape());
  world.api.state.create(kinds.tenants, tenant("acme"));
  world.api.state.create(kinds.pools, pool(world.nats.url, withShape));
  await ready(world);
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  world.api.requests.length = 0;
  const startedAt = performance.now();
  world.api.state.patch(
    kinds.shapes,
    { namespace: "mail", name: "providers" },
    { spec: { rules: [rule("any", 7)] } },
  );
  await until("the pods to run it", () => connectionsOf(world).every((one) => one === 7));
  const liveMs = performance.now() - startedAt;
  await until("Programmed to say so", () => {
    const status = world.get("pools", "shared")?.["status"] as { config?: { generation: number } };
    return (
      status.config?.generation === 2 &&
      world.conditions("pools", "shared")["Programmed"] === "True Programmed"
    );
  });
  assert.ok(
    performance.now() - startedAt < 2000,
    `live after ${liveMs} ms, told after ${performance.now() - startedAt} ms`,
  );
  const configs = writes(world).filter((one) => one.includes("configmaps") || one.includes("secrets"));
  assert.deepEqual(configs, ["PATCH configmaps/mailboat-shared-config"]);
  assert.equal(writes(world).filter((one) => one.includes(" pods/")).length, 2);
  assert.deepEqual(
    writes(world).filter((one) => one.includes(" tenants/")),
    [],
    "a tenant that did not change is not written",
  );
});

test("an edit of one tenant of many is one write of a ConfigMap, whoever leads", async () => {
  await using world = await startWorld();
  for (let index = 0; index < 40; index++) world.api.state.create(kinds.tenants, tenant(`t${index}`));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until(
    "all tenants to be ready",
    () =>
      Array.from({ length: 40 }, (_, index) => world.conditions("tenants", `t${index}`)["Ready"]).every(
        (one) => one === "True Ready",
      ),
    30_000,
  );
  await ready(world);
  const slotsWritten = () => writes(world).filter((one) => one.startsWith("PATCH configmaps"));
  const edit = async (name: string, weight: number): Promise<void> => {
    world.api.requests.length = 0;
    world.api.state.patch(kinds.tenants, { namespace: "mail", name }, { spec: { weight } });
    await until("the pods to run it", () =>
      [...world.fleet.running().values()].every(
        ({ tenants }) => tenants.get(`mail/${name}`)?.weight === weight,
      ),
    );
    await until("the tenant to be ready", () => {
      const { generation } = world.get("tenants", name)?.metadata ?? {};
      const status = world.get("tenants", name)?.["status"] as { observedGeneration?: number };
      return (
        status.observedGeneration === generation &&
        world.conditions("tenants", name)["Ready"] === "True Ready"
      );
    });
    const slot = `PATCH configmaps/mailboat-shared-config-${Number(tenantSlotOf(`mail/${name}`))}`;
    assert.deepEqual(slotsWritten(), [slot]);
    const tenants = new Set(writes(world).filter((one) => one.includes(" tenants/")));
    assert.deepEqual([...tenants], [`PATCH tenants/${name} status`]);
  };
  await edit("t7", 5);
  await edit("t8", 6);
  const generation = () => world.engine.context.configuration.pool("mail/shared")?.generation;
  const before = generation();
  world.api.requests.length = 0;
  await world.restartOperator();
  await until("the next leader to have compiled", () => generation() !== undefined);
  await ready(world);
  assert.equal(generation(), before, "the newest edition, though the manifest is of an older one");
  await until("the pods to be asked", () => world.engine.context.reports.of("mail/shared").wasAsked);
  const isOwn = (one: string) => one.endsWith(" status") || one.includes("configmaps");
  assert.deepEqual(writes(world).filter(isOwn), [], "slots of older editions and statuses stay as they are");
  await edit("t9", 7);
});

test("what leaves every slot as it was is told by the manifest", async () => {
  await using world = await startWorld();
  const credentials = [{ name: "app", type: "Password", secretRef: { name: "acme-smtp" } }];
  world.api.state.create(kinds.secrets, secret("acme-smtp", { username: "acme", password: "one" }));
  for (const name of ["acme", "other"]) world.api.state.create(kinds.tenants, tenant(name));
  world.api.state.patch(kinds.tenants, { namespace: "mail", name: "acme" }, { spec: { credentials } });
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  const rows = () => [...world.fleet.running().values()];
  await until("both tenants to run", () => rows().every(({ tenants }) => tenants.size === 2));
  const manifest = "PATCH configmaps/mailboat-shared-config";
  const written = () => writes(world).filter((one) => one.includes(" configmaps/"));
  const mac = () => rows()[0]?.credentials[0]?.passwordMac;
  const before = mac();
  world.api.requests.length = 0;
  const rotated = Buffer.from("two").toString("base64");
  const ref = { namespace: "mail", name: "acme-smtp" };
  world.api.state.patch(kinds.secrets, ref, { data: { password: rotated } });
  await until("the rotated login to run", () => mac() !== before);
  await ready(world);
  assert.deepEqual(written(), [manifest]);
  world.api.requests.length = 0;
  const skip = { metadata: { annotations: { "mailboat.dev/skip-drain": "true" } } };
  world.api.state.patch(kinds.tenants, { namespace: "mail", name: "other" }, skip);
  world.api.state.remove(kinds.tenants, "mail", "other");
  await until("it to be gone from the pods", () => rows().every(({ tenants }) => tenants.size === 1));
  await ready(world);
  const slot = `configmaps/mailboat-shared-config-${Number(tenantSlotOf("mail/other"))}`;
  await until("its slot to be gone", () => written().includes(`DELETE ${slot}`));
  assert.ok(written().indexOf(manifest) < written().indexOf(`DELETE ${slot}`), written().join());
});

test("Secrets: missing, made, rotated, taken away: said in the status and live in the pods, without a restart of anything", async () => {
  await using world = await startWorld();
  const credentials = [{ name: "app", type: "Password", secretRef: { name: "acme-smtp" } }];
  world.api.state.create(kinds.tenants, tenant("acme", { credentials }));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  const resolved = () => world.conditions("tenants", "acme")["ResolvedRefs"];
  await until("the missing Secret to be told", () => resolved() === "False SecretNotFound");
  assert.equal(world.conditions("tenants", "acme")["Reconciling"], "True RefsUnresolved");
  assert.equal(world.conditions("tenants", "acme")["Stalled"], undefined);
  const logins = () =>
    [...world.fleet.running().values()].map((config) => config.credentials[0]?.passwordMac);
  world.api.state.create(kinds.secrets, secret("acme-smtp", { username: "acme", password: "one" }));
  await until("it to be found", () => resolved() === "True ResolvedRefs");
  await until("the login in both pods", () => logins().every((one) => one !== undefined));
  await until(
    "the pool to be ready",
    () => world.conditions("pools", "shared")["Programmed"] === "True Programmed",
  );
  const [before] = logins();
  const rotated = Buffer.from("two").toString("base64");
  world.api.state.patch(
    kinds.secrets,
    { namespace: "mail", name: "acme-smtp" },
    { data: { password: rotated } },
  );
  await until("the new one in both pods", () => logins().every((one) => one !== undefined && one !== before));
  await until(
    "Programmed of the rotated key",
    () => world.conditions("tenants", "acme")["Programmed"] === "True Programmed",
  );
  world.api.state.remove(kinds.secrets, "mail", "acme-smtp");
  await until("its loss to be told", () => resolved() === "False SecretNotFound");
  await until("the login to be gone", () => logins().every((one) => one === undefined));
});

test("a paused pool is not written to; its status says so; then it takes over what has changed", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.shapes, shape());
  world.api.state.create(kinds.pools, pool(world.nats.url, withShape));
  await ready(world);
  const annotate = (value: string | null) =>
    world.api.state.patch(
      kinds.pools,
      { namespace: "mail", name: "shared" },
      { metadata: { annotations: { "mailboat.dev/paused": value } } },
    );
  annotate("true");
  await until("the pause to be told", () => world.conditions("pools", "shared")["Paused"] === "True Paused");
  world.api.requests.length = 0;
  world.api.state.patch(
    kinds.shapes,
    { namespace: "mail", name: "providers" },
    { spec: { rules: [rule("any", 9)] } },
  );
  await until(
    "the edit to be compiled",
    () => world.engine.context.configuration.pool("mail/shared")?.generation === 2,
  );
  await until(
    "the lag to be told",
    () => world.conditions("pools", "shared")["Programmed"] === "False PodsBehind",
  );
  assert.deepEqual(
    writes(world).filter((one) => !one.endsWith("status")),
    [],
  );
  annotate(null);
  await until("the pods to run it", () => connectionsOf(world).every((one) => one === 9));
  await ready(world);
  assert.equal(world.conditions("pools", "shared")["Paused"], undefined);
});

test("children that somebody deletes or changes are made good", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  const service = { namespace: "mail", name: "mailboat-shared" };
  const spec = JSON.stringify(world.get("services", "mailboat-shared")?.["spec"]);
  world.api.state.remove(kinds.services, "mail", service.name);
  await until(
    "it to be made again",
    () => JSON.stringify(world.get("services", service.name)?.["spec"]) === spec,
  );
  world.api.state.patch(kinds.services, service, { spec: { ports: [] } });
  await until(
    "it to be as it was",
    () => JSON.stringify(world.get("services", service.name)?.["spec"]) === spec,
  );
  world.api.state.patch(kinds.deployments, service, { spec: { replicas: 5 } });
  await until("the number of pods to be as it was", () => {
    const deployment = world.get("deployments", service.name)?.["spec"] as { replicas: number };
    return deployment.replicas === 2;
  });
});

test("an object of somebody else in the way is left alone and said", async () => {
  await using world = await startWorld();
  const theirs = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "mailboat-shared", namespace: "mail" },
    spec: { type: "ExternalName" },
  };
  world.api.state.create(kinds.services, theirs);
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("it to be told", () => world.conditions("pools", "shared")["Ready"] === "False NameTaken");
  assert.equal(world.conditions("pools", "shared")["Stalled"], "True NameTaken");
  const status = world.get("pools", "shared")?.["status"] as { desiredReplicas?: number };
  assert.equal(status.desiredReplicas, 2, "it is wanted all the same");
  assert.notEqual(world.conditions("pools", "shared")["Programmed"], "True ScaledToZero");
  assert.deepEqual(world.get("services", "mailboat-shared")?.["spec"], { type: "ExternalName" });
});

test("scaling: spec.replicas is the Deployment's, the status serves /scale, and no configuration is written for it", async () => {
  await using world = await startWorld();
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  world.api.requests.length = 0;
  world.api.state.patch(kinds.pools, { namespace: "mail", name: "shared" }, { spec: { replicas: 4 } });
  await until("four pods to run", () => world.fleet.running().size === 4);
  await until("the status to follow", () => {
    const status = world.get("pools", "shared")?.["status"] as Record<string, unknown>;
    return status["replicas"] === 4 && status["programmedReplicas"] === 4;
  });
  await ready(world);
  assert.deepEqual(
    writes(world).filter((one) => one.includes("configmaps")),
    [],
  );
  world.api.state.patch(kinds.pools, { namespace: "mail", name: "shared" }, { spec: { replicas: 0 } });
  await until(
    "no pod to be left",
    () => world.conditions("pools", "shared")["Ready"] === "True ScaledToZero",
  );
});

test("streams that JetStream refuses: Ready says which pod was told what, and is true again after that", async () => {
  await using world = await startWorld();
  world.fleet.isBroken = true;
  const why =
    'Cannot make stream MB_a_1: expected the server to hold 2147483648 bytes x 1, got "no room" (10047)';
  world.fleet.waitsFor = why;
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until(
    "the refusal to be said",
    () => world.conditions("pools", "shared")["Ready"] === "False QueueRefused",
  );
  assert.ok(world.message("pools", "shared", "Ready").includes(why));
  const events = () => [...world.api.state.list(kinds.events)].map(([, { type, reason }]) => [type, reason]);
  await until("an event", () =>
    events().some(([type, reason]) => type === "Warning" && reason === "QueueRefused"),
  );
  world.fleet.waitsFor = "";
  world.fleet.isBroken = false;
  await ready(world);
});

test("NATS away: Programmed is Unknown and says why, what was known stays, and nothing is undone", async () => {
  await using world = await startWorld();
  world.fleet.report = { queued: 7, sendable: 3 };
  world.api.state.create(kinds.tenants, tenant("acme"));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  const queue = () => Reflect.get(world.get("pools", "shared")?.["status"] ?? {}, "queue");
  await until("the queue to be told", () => JSON.stringify(queue()) === '{"messages":14,"sendable":6}');
  world.api.requests.length = 0;
  await world.nats.kill();
  await until(
    "it to be told",
    () => world.conditions("pools", "shared")["Programmed"] === "Unknown QueueUnreachable",
    20_000,
  );
  assert.equal(world.conditions("pools", "shared")["Ready"], "Unknown QueueUnreachable");
  assert.deepEqual(queue(), { messages: 14, sendable: 6 });
  assert.equal(
    world.conditions("tenants", "acme")["Ready"],
    "True Ready",
    "it runs, whatever cannot be asked",
  );
  assert.deepEqual(
    writes(world).filter((one) => !one.endsWith("status")),
    [],
  );
  await world.nats.restart();
  await until("it to be over", () => world.conditions("pools", "shared")["Ready"] === "True Ready", 20_000);
});
