import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { type HealthServer, startHealth } from "#mta-pod/telemetry/health.ts";
import { createMetrics } from "#mta-pod/telemetry/metrics.ts";
import { quietSources } from "#test/kit/metrics.ts";

describe("startHealth()", () => {
  const reasons: string[] = [];
  const metrics = createMetrics(quietSources);
  let server: HealthServer;
  const get = (path: string, method = "GET"): Promise<Response> =>
    fetch(`http://127.0.0.1:${server.port}${path}`, { method });
  before(async () => {
    server = await startHealth({
      host: "127.0.0.1",
      port: 0,
      metrics,
      notReady: () => reasons,
      status: () => ({ generation: 1, shards: [0, 3] }),
    });
  });
  after(() => server.close());

  test("/healthz is ok as long as the process answers", async () => {
    const response = await get("/healthz?verbose");
    assert.equal(response.status, 200);
    assert.equal(await response.text(), "ok\n");
  });

  test("/readyz names what it lacks, one a line", async () => {
    reasons.push("stopping", "nats is not reachable");
    const refused = await get("/readyz");
    assert.equal(refused.status, 503);
    assert.equal(await refused.text(), "stopping\nnats is not reachable\n");
    reasons.length = 0;
    assert.equal((await get("/readyz")).status, 200);
  });

  test("/statusz is JSON", async () => {
    const response = await get("/statusz");
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.deepEqual(await response.json(), { generation: 1, shards: [0, 3] });
  });

  test("/metrics is what the registry says", async () => {
    metrics.received.inc({ tenant: "mail/acme", stream: "default" });
    const response = await get("/metrics");
    assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    assert.match(text, /^mailboat_messages_received_total\{tenant="mail\/acme",stream="default"\} 1$/m);
    assert.match(text, /^# TYPE mailboat_delivery_seconds histogram$/m);
  });

  test("other paths are 404, other methods 405", async () => {
    assert.equal((await get("/")).status, 404);
    assert.equal((await get("/metrics/../etc/passwd")).status, 404);
    assert.equal((await get("/healthz", "POST")).status, 405);
    assert.equal((await get("/healthz", "HEAD")).status, 200);
  });

  test("a scraper that hangs up in the middle harms nobody", async () => {
    await new Promise<void>((resolve, reject) => {
      const socket = connect(server.port, "127.0.0.1", () => {
        socket.write("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        socket.once("data", () => socket.destroy());
      });
      socket.once("close", () => resolve());
      socket.once("error", reject);
    });
    assert.equal((await get("/healthz")).status, 200);
  });

  test("rejects when the port is taken", async () => {
    const options = { host: "127.0.0.1", port: server.port, metrics, notReady: () => [], status: () => ({}) };
    await assert.rejects(startHealth(options), { code: "EADDRINUSE" });
  });
});
