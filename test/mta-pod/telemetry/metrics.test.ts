import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { rejectionReasons } from "#mta-pod/admit/refusal.ts";
import { outcomeClasses } from "#mta-pod/settle/reply-rules.ts";
import { createMetrics, providerSeries, tenantSeries } from "#mta-pod/telemetry/metrics.ts";
import { quietSources } from "#test/kit/metrics.ts";

/** Values of `label` in the lines of `metric`. */
function valuesOf(text: string, metric: string, label: string): Set<string> {
  const found = new Set<string>();
  for (const line of text.split("\n"))
    if (line.startsWith(`${metric}{`) || line.startsWith(`${metric}_bucket{`))
      found.add(new RegExp(`[{,]${label}="([^"]*)"`).exec(line)?.[1] ?? "");
  return found;
}

function seriesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

describe("createMetrics()", () => {
  test("10,000 tenants and 1,000 providers stay within the series of decisions.md 20", async () => {
    const tenants = Array.from({ length: 10_000 }, (_, index) => `mail/tenant-${index}`);
    const counts = { ready: 1, waiting: 1, suspended: 0, inflight: 0, oldest: 1_699_999_990_000 };
    const metrics = createMetrics({
      ...quietSources,
      queued: () => new Map(tenants.map((tenant) => [tenant, counts])),
      connections: () =>
        tenants.slice(0, 1000).map((_, index) => ({ provider: `site-${index}`, source: "default", open: 1 })),
    });
    for (const [index, name] of tenants.entries()) {
      const tenant = metrics.tenantLabel(name);
      const provider = metrics.providerLabel(`site-${index % 1000}`);
      metrics.received.inc({ tenant, stream: "default" });
      metrics.recipients.inc({ tenant, stream: "default", provider, outcome: "delivered" });
      metrics.deferrals.inc({ tenant, provider, class: "rate-limited" });
      metrics.rejections.inc({ tenant, reason: "rate" });
      metrics.attempts.inc({ provider, source: "default", result: "delivered" });
      metrics.delivery.observe({ tenant, stream: "default" }, 0.1);
    }
    const text = await metrics.registry.metrics();
    for (const metric of ["mailboat_messages_received_total", "mailboat_queued_messages"]) {
      const named = valuesOf(text, metric, "tenant");
      assert.equal(named.size, tenantSeries + 1, metric);
      assert.ok(named.has("other"), metric);
    }
    for (const metric of ["mailboat_attempts_total", "mailboat_connections"])
      assert.equal(valuesOf(text, metric, "provider").size, providerSeries + 1, metric);
    const all = seriesOf(text);
    assert.ok(all.length <= 50_000, String(all.length));
    const received = all
      .filter((line) => line.startsWith("mailboat_messages_received_total{"))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    assert.equal(received, 10_000, "nothing is lost in other");
  });

  test("every tenant sending everything to everybody stays within 50,000 series, and nothing is left uncounted", async () => {
    const counts = { ready: 1, waiting: 1, suspended: 1, inflight: 1, oldest: 1_699_999_990_000 };
    const names = Array.from({ length: 10_000 }, (_, index) => `mail/tenant-${index}`);
    const metrics = createMetrics({
      ...quietSources,
      queued: () => new Map(names.map((tenant) => [tenant, counts])),
      connections: function* () {
        for (let site = 0; site < 200; site++)
          for (let source = 0; source < 64; source++)
            yield { provider: `site-${site}`, source: `source-${source}`, open: 1 };
      },
    });
    const tenants = names.slice(0, tenantSeries + 1).map((name) => metrics.tenantLabel(name));
    const providers = Array.from({ length: providerSeries + 1 }, (_, site) =>
      metrics.providerLabel(`site-${site}`),
    );
    const streams = ["default", "a", "b", "c", "d", "e", "f", "g", "h"];
    let recipients = 0;
    let deliveries = 0;
    for (const tenant of tenants) {
      for (const stream of streams) {
        metrics.received.inc({ tenant, stream });
        metrics.delivery.observe({ tenant, stream }, 1);
        deliveries++;
        for (const provider of providers)
          for (const outcome of ["delivered", "bounced", "expired"]) {
            metrics.recipients.inc({ tenant, stream, provider, outcome });
            recipients++;
          }
      }
      for (const kind of outcomeClasses)
        for (const provider of providers) metrics.deferrals.inc({ tenant, provider, class: kind });
      for (const reason of rejectionReasons) metrics.rejections.inc({ tenant, reason });
    }
    for (const provider of providers)
      for (let source = 0; source < 64; source++)
        for (const result of outcomeClasses)
          metrics.attempts.inc({ provider, source: `source-${source}`, result });
    const series = seriesOf(await metrics.registry.metrics());
    assert.ok(series.length <= 50_000, String(series.length));
    const sumOf = (start: string): number =>
      series
        .filter((one) => one.startsWith(start))
        .reduce((sum, one) => sum + Number(one.split(" ").at(-1)), 0);
    assert.equal(sumOf("mailboat_recipients_total{"), recipients);
    assert.equal(sumOf("mailboat_delivery_seconds_count{"), deliveries);
  });

  test("queue gauges add up what is called other, and forget who has nothing queued", async () => {
    const queued = new Map([
      ["mail/a", { ready: 2, waiting: 3, suspended: 1, inflight: 0, oldest: 1_699_999_990_000 }],
    ]);
    const { registry } = createMetrics({ ...quietSources, queued: () => queued });
    const before = await registry.metrics();
    assert.match(before, /^mailboat_queued_messages\{tenant="mail\/a",state="waiting"\} 3$/m);
    assert.match(before, /^mailboat_queue_oldest_seconds\{tenant="mail\/a"\} 10$/m);
    assert.match(before, /^mailboat_sendable_backlog 2$/m);
    queued.clear();
    const after = await registry.metrics();
    assert.doesNotMatch(after, /mail\/a/);
    assert.match(after, /^mailboat_sendable_backlog 0$/m);
    assert.match(after, /^mailboat_shards_owned 3$/m);
    assert.match(after, /^mailboat_config_generation 7$/m);
  });

  test("mailboat_queued_messages counts what is under way as ready; the backlog leaves it out", async () => {
    const counts = { ready: 2, waiting: 0, suspended: 0, inflight: 10, oldest: 1_699_999_990_000 };
    const tenants = Array.from({ length: tenantSeries + 2 }, (_, index) => `mail/tenant-${index}`);
    const queued = new Map(tenants.map((tenant) => [tenant, counts]));
    const { registry } = createMetrics({ ...quietSources, queued: () => queued });
    const text = await registry.metrics();
    assert.match(text, /^mailboat_queued_messages\{tenant="mail\/tenant-0",state="ready"\} 12$/m);
    assert.match(text, /^mailboat_queued_messages\{tenant="other",state="ready"\} 24$/m);
    assert.match(text, new RegExp(`^mailboat_sendable_backlog ${2 * tenants.length}$`, "m"));
  });

  test("every metric has its prose, and counters end in _total", async () => {
    const { registry } = createMetrics(quietSources);
    for (const { name, help, type } of await registry.getMetricsAsJSON()) {
      assert.notEqual(help, "", name);
      if (name.startsWith("mailboat_"))
        assert.equal(name.endsWith("_total"), String(type) === "counter", name);
    }
  });
});
