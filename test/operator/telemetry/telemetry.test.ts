import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeMetrics, Log } from "#operator/kube/types.ts";
import { createWorkQueue } from "#operator/kube/work-queue.ts";
import { startHealth } from "#operator/telemetry/health.ts";
import { createLog } from "#operator/telemetry/log.ts";
import { createOperatorMetrics } from "#operator/telemetry/metrics.ts";
import { firstColumn, textOf } from "../../rules/repository.ts";
import { manualClock, settle } from "../kube/kit.ts";

test("createOperatorMetrics() counts what a work queue does under controller-runtime's names", async () => {
  const metrics = createOperatorMetrics();
  const clock = manualClock();
  const reconcile = (key: string) =>
    key === "bug"
      ? Promise.reject(new TypeError("a bug"))
      : key === "hangs"
        ? new Promise<void>(() => undefined)
        : Promise.resolve();
  const queue = createWorkQueue({
    name: "sendingpool",
    workers: 1,
    clock,
    random: () => 1,
    reconcile,
    metrics,
  });
  queue.add("good");
  queue.add("bug");
  await settle();
  queue.add("hangs");
  queue.add("waits");
  queue.add("old", { priority: "low" });
  clock.advance(2000);
  const text = await metrics.registry.metrics();
  const by = 'controller="sendingpool"';
  for (const line of [
    `controller_runtime_reconcile_total{${by},result="success"} 1`,
    `controller_runtime_reconcile_total{${by},result="error"} 1`,
    `controller_runtime_reconcile_total{${by},result="requeue_after"} 0`,
    `controller_runtime_reconcile_errors_total{${by}} 1`,
    `controller_runtime_reconcile_panics_total{${by}} 1`,
    `controller_runtime_reconcile_timeouts_total{${by}} 0`,
    `controller_runtime_reconcile_time_seconds_count{${by}} 2`,
    `controller_runtime_active_workers{${by}} 1`,
    `controller_runtime_max_concurrent_reconciles{${by}} 1`,
    `workqueue_adds_total{name="sendingpool",${by}} 6`,
    `workqueue_retries_total{name="sendingpool",${by}} 1`,
    `workqueue_depth{name="sendingpool",${by},priority="0"} 2`,
    `workqueue_depth{name="sendingpool",${by},priority="-100"} 1`,
    `workqueue_unfinished_work_seconds{name="sendingpool",${by}} 2`,
    `workqueue_longest_running_processor_seconds{name="sendingpool",${by}} 2`,
    `workqueue_queue_duration_seconds_count{name="sendingpool",${by}} 3`,
    `workqueue_work_duration_seconds_count{name="sendingpool",${by}} 2`,
  ])
    assert.ok(text.includes(`${line}\n`), `${line}\n${text}`);
});

test("createOperatorMetrics() is what operator/kube counts with, and shows requests, leadership and watches", async () => {
  const metrics = createOperatorMetrics();
  const counts: KubeMetrics = metrics;
  counts.request("200", "GET", "api:443");
  counts.request("200", "GET", "api:443");
  counts.leading("mailboat-operator", true);
  metrics.watches(() => [{ kind: "Tenant", objects: 7, silentSeconds: 30 }]);
  const text = await metrics.registry.metrics();
  for (const line of [
    'rest_client_requests_total{code="200",method="GET",host="api:443"} 2',
    'leader_election_master_status{name="mailboat-operator"} 1',
    'mailboat_operator_watch_silent_seconds{kind="Tenant"} 30',
    'mailboat_operator_watched_objects{kind="Tenant"} 7',
  ])
    assert.ok(text.includes(`${line}\n`), line);
});

test("operator/README.md has every metric of the operator in its table, and no other", async () => {
  const declared = (await createOperatorMetrics().registry.getMetricsAsJSON())
    .map(({ name }) => name)
    .filter((name) => !/^(process|nodejs)_/.test(name));
  assert.deepEqual(
    firstColumn(textOf("operator/README.md"), "metric of the operator").toSorted(),
    declared.toSorted(),
  );
});

test("startHealth() serves metrics on one port, and on the other why the operator is not ready", async () => {
  const reasons = ["Tenant is not synced"];
  const { registry } = createOperatorMetrics();
  const options = { bind: "127.0.0.1", metricsPort: 0, healthPort: 0, registry, notReady: () => reasons };
  const server = await startHealth(options);
  const ask = async (port: number, path: string, method = "GET") => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return `${answer.status} ${(await answer.text()).split("\n")[0]}`;
  };
  try {
    assert.equal(await ask(server.healthPort, "/healthz"), "200 ok");
    assert.equal(await ask(server.healthPort, "/readyz"), "503 Tenant is not synced");
    reasons.length = 0;
    assert.equal(await ask(server.healthPort, "/readyz?verbose"), "200 ok");
    assert.match(await ask(server.metricsPort, "/metrics"), /^200 # HELP/);
    assert.match(await ask(server.metricsPort, "/healthz"), /^404/);
    assert.match(await ask(server.healthPort, "/metrics"), /^404/);
    assert.match(await ask(server.healthPort, "/readyz", "POST"), /^405/);
    await assert.rejects(startHealth({ ...options, healthPort: server.healthPort }), /EADDRINUSE/);
  } finally {
    server.close();
  }
});

test("createLog() is a log of operator/kube", () => {
  const log: Log = createLog("silent", { pod: "a" });
  log.info("synced", { kind: "Tenant" });
});
