/** What sets a pool going besides edits: an annotation, the autoscaler's figures, a kind that is installed later. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { kinds } from "#operator/reconcile/kinds.ts";
import { fieldOf } from "#operator/reconcile/pods.ts";
import { until } from "#test/kit/until.ts";
import { pool, secret, startWorld, tenant, type World } from "./world.ts";

const ref = { namespace: "mail", name: "shared" };

async function ready(world: World): Promise<void> {
  await until("the pool to be ready", () => world.conditions("pools", "shared")["Ready"] === "True Ready");
}

/** Written since the list of requests was emptied, without events. */
function written(world: World): string[] {
  return world.api.requests
    .filter(({ method, type }) => method !== "GET" && type?.plural !== "events")
    .map(({ type, name, subresource }) => `${type?.plural}/${name ?? ""} ${subresource ?? ""}`.trim());
}

test("mailboat.dev/reconcile-at: another value has everything applied and Secrets read again, the same one nothing", async () => {
  await using world = await startWorld();
  const credentials = [{ name: "app", type: "Password", secretRef: { name: "acme-smtp" } }];
  world.api.state.create(kinds.secrets, secret("acme-smtp", { username: "acme", password: "one" }));
  world.api.state.create(kinds.tenants, tenant("acme", { credentials }));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  const generation = world.engine.context.configuration.pool("mail/shared")?.generation;
  const ask = (value: string) =>
    world.api.state.patch(kinds.pools, ref, {
      metadata: { annotations: { "mailboat.dev/reconcile-at": value } },
    });
  const children = [
    "configmaps/mailboat-shared-config",
    "deployments/mailboat-shared",
    "networkpolicies/mailboat-shared",
    "poddisruptionbudgets/mailboat-shared",
    "secrets/mailboat-shared-admin",
    "serviceaccounts/mailboat-shared",
    "services/mailboat-shared",
    "services/mailboat-shared-admin",
  ].filter((one) => !one.startsWith("networkpolicies") || world.get("networkPolicies", "mailboat-shared"));
  world.api.requests.length = 0;
  ask("now");
  await until("all children to be applied", () => children.every((one) => written(world).includes(one)));
  await until("the Secret to be read", () =>
    world.api.requests.some(({ method, name }) => method === "GET" && name === "acme-smtp"),
  );
  await ready(world);
  const config = world.engine.context.configuration.pool("mail/shared");
  assert.equal(config?.generation, generation, "it is the same configuration");
  assert.ok(!written(world).some((one) => one.startsWith("tenants/")), written(world).join());
  world.api.requests.length = 0;
  world.api.state.patch(kinds.pools, ref, {
    metadata: { annotations: { other: "value" } },
    spec: { replicas: 3 },
  });
  await until("the edit to be carried out", () => world.fleet.running().size === 3);
  await ready(world);
  assert.deepEqual(
    written(world).filter((one) => children.includes(one)),
    ["deployments/mailboat-shared"],
  );
});

test("the autoscaler: what pods report sets the Deployment's replicas, and the spec stays as it is", async () => {
  await using world = await startWorld();
  const autoscaling = { minReplicas: 2, maxReplicas: 4, targetBacklogPerReplica: 100 };
  const queue = { servers: [world.nats.url], replicas: 1, shards: 8 };
  world.api.state.create(kinds.pools, pool(world.nats.url, { queue, replicas: 1, autoscaling }));
  const replicas = () => fieldOf(world.get("deployments", "mailboat-shared")?.["spec"], "replicas");
  await until("the fewest pods", () => replicas() === 2 && world.fleet.running().size === 2);
  await ready(world);
  const { generation } = world.get("pools", "shared")?.metadata ?? {};
  world.api.requests.length = 0;
  world.fleet.report = { backlog: { messages: 5000, oldestAt: Date.now() - 5000 }, queued: 5000 };
  await until("the most pods", () => replicas() === 4 && world.fleet.running().size === 4, 20_000);
  await until(
    "the status to follow",
    () => fieldOf(world.get("pools", "shared")?.["status"], "replicas") === 4,
  );
  const object = world.get("pools", "shared");
  assert.equal(fieldOf(object?.["spec"], "replicas"), 1);
  assert.equal(object?.metadata.generation, generation, "its spec was not written");
  const pools = written(world).filter((one) => one.startsWith("sendingpools/"));
  assert.deepEqual([...new Set(pools)], ["sendingpools/shared status"]);
  const events = [...world.api.state.list(kinds.events)].map(
    ([, { reason, note }]) => `${String(reason)} ${String(note)}`,
  );
  assert.ok(events.includes("Scaled 4 pods: Backlog"), events.join());
  const status = () => world.get("pools", "shared")?.["status"];
  const reason = () => fieldOf(fieldOf(status(), "autoscaling"), "reason");
  await until("its reason to be said", () => reason() === "AtMaximum");
  assert.equal(fieldOf(status(), "desiredReplicas"), 4, "not the spec's, which counts for nothing");
  await ready(world);
  const { reports } = world.engine.context;
  const at = () => Math.min(...[...reports.of("mail/shared").told.values()].map((one) => one.at));
  world.api.requests.length = 0;
  const before = at();
  await until("another report of all", () => at() > before);
  assert.deepEqual(written(world), [], "the same reason again is no news");
  // A leader that knows nothing yet takes what runs, not the fewest.
  world.fleet.report = {};
  await world.restartOperator();
  await until("the reason to be another", () => reason() === "Stabilizing");
  await ready(world);
  assert.equal(replicas(), 4);
  world.api.state.patch(kinds.pools, ref, { spec: { replicas: 3, autoscaling: null } });
  await until("the spec to count again", () => fieldOf(status(), "desiredReplicas") === 3);
  await until("nobody's reason to be there", () => fieldOf(status(), "autoscaling") === undefined);
});

test("PodMonitors: a kind that is installed later is used, and one that is taken away is in nobody's way", async () => {
  const types = Object.values(kinds).filter((type) => type !== kinds.podMonitors);
  await using world = await startWorld({ types, podMonitorLabels: { release: "prometheus" } });
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await ready(world);
  assert.equal(world.get("podMonitors", "mailboat-shared"), undefined);
  types.push(kinds.podMonitors);
  await until(
    "the PodMonitor, seen by the watch",
    () => [...world.engine.stores.values("podMonitors")].length > 0,
  );
  const made = world.get("podMonitors", "mailboat-shared");
  assert.equal(made?.metadata.labels?.["release"], "prometheus", "what a Prometheus selects it by");
  world.api.state.remove(kinds.podMonitors, "mail", "mailboat-shared");
  await until("it to be made good", () => world.get("podMonitors", "mailboat-shared") !== undefined);
  types.pop();
  await until("it to be seen gone", () => world.lines.some((line) => line.includes("pod monitors gone")));
  world.api.state.patch(kinds.pools, ref, { spec: { replicas: 3 } });
  await until("an edit to be carried out", () => world.fleet.running().size === 3);
  await ready(world);
});
