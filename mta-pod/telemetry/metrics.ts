/** Every metric of a pod, declared once with its prose (interface.md §5); label values are bounded. Never throws after start. */
import type { Clock } from "#mta-pod/runtime/clock.ts";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { createSeriesBound, createSeriesFold, type FoldRule, otherSeries } from "./series.ts";
import { createTally, removeSeries } from "./tally.ts";

/** Bounds of decisions.md 20: busiest tenants and sites by name, the rest "other". */
export const tenantSeries = 500;
export const providerSeries = 50;
/** No collection of garbage should take 50 ms: the library's own steps would not tell. */
const gcSeconds = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1];

interface QueueCounts {
  readonly ready: number;
  readonly waiting: number;
  readonly suspended: number;
  /** Under way: as `ready`, but no backlog. */
  readonly inflight: number;
  /** When the oldest was accepted, ms since 1970. */
  readonly oldest: number;
}

/** What gauges read when they are scraped. */
export interface MetricsSources {
  readonly clock: Clock;
  queued(): ReadonlyMap<string, QueueCounts>;
  connections(): Iterable<{ readonly provider: string; readonly source: string; readonly open: number }>;
  /** How long ready mail was held back since this was last asked, and by what. */
  heldTimes(): readonly { readonly provider: string; readonly limit: string; readonly seconds: number }[];
  /** Event records given up since the start. */
  eventsDropped(): number;
  shardsOwned(): number;
  generation(): number;
  /** How full the fullest spool stream is that this pod stores in, 0 to 1. */
  storeUsed(): number;
  /** Ready entries that nothing holds back. */
  unserved(): number;
}

export type Metrics = ReturnType<typeof createMetrics>;

/** Makes the registry and its metrics; `sources` is only called while a scrape runs. */
export function createMetrics(sources: MetricsSources) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, gcDurationBuckets: gcSeconds });
  const counter = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    fold?: FoldRule<L>,
  ) => createTally<L>(registry, { name, help, labelNames, fold });
  const counters = {
    received: counter(
      "mailboat_messages_received_total",
      "Messages accepted with a 250.",
      ["tenant", "stream"],
      { most: 1500, labels: ["stream"] },
    ),
    recipients: counter(
      "mailboat_recipients_total",
      "Recipients that came to their end, by outcome.",
      ["tenant", "stream", "provider", "outcome"],
      { most: 6000, labels: ["stream", "provider"] },
    ),
    deferrals: counter(
      "mailboat_deferrals_total",
      "Attempts after which a recipient stayed open.",
      ["tenant", "provider", "class"],
      { most: 5000, labels: ["provider", "class"] },
    ),
    rejections: counter(
      "mailboat_rejections_total",
      "Refusals at the front door, by reason.",
      ["tenant", "reason"],
      { most: 3000, labels: ["reason"] },
    ),
    tenantLimit: counter(
      "mailboat_tenant_limit_seconds_total",
      "Time that tenants were held back by limits of their own: from a refusal to the next message.",
      ["tenant", "limit"],
    ),
    attempts: counter(
      "mailboat_attempts_total",
      "Transactions tried, by what became of them.",
      ["provider", "source", "result"],
      { most: 4000, labels: ["provider"] },
    ),
    configErrors: counter(
      "mailboat_config_errors_total",
      "Configurations refused; the last good one runs on.",
      [],
    ),
    possibleDuplicates: counter(
      "mailboat_possible_duplicates_total",
      "Entries that were between the first byte of DATA and the acknowledged delete when their outcome became unknown.",
      [],
    ),
  };
  const deliveryFold = createSeriesFold({ most: 750, labels: ["stream"] });
  const delivery = new Histogram({
    name: "mailboat_delivery_seconds",
    help: "From the 250 given to the client to the 250 of the recipient's host.",
    labelNames: ["tenant", "stream"] as const,
    buckets: [0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800, 7200, 28800, 86400],
    registers,
  });
  const spool = new Histogram({
    name: "mailboat_spool_seconds",
    help: "Round trips to JetStream, by operation.",
    labelNames: ["op"] as const,
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 5, 10, 60],
    registers,
  });
  const parked = new Gauge({
    name: "mailboat_parked_messages",
    help: "Entries of this pod's shards that were set aside since handling them failed.",
    registers,
  });
  const siteLimit = new Counter({
    name: "mailboat_site_limit_seconds_total",
    help: "Time that mail which was ready for a provider was held back, by the limit that held it.",
    labelNames: ["provider", "limit"] as const,
    registers,
    collect() {
      for (const { provider, limit, seconds } of sources.heldTimes())
        this.inc({ provider: bound.provider(provider), limit }, seconds);
    },
  });
  const eventsDropped = droppedCounter(sources, registers);
  const bound = bounds(sources.clock, (label, value) => {
    for (const tally of Object.values(counters)) tally.forget(label, value);
    for (const metric of [siteLimit, delivery]) removeSeries(metric, label, value);
    deliveryFold.forget(label, value);
  });
  declareGauges(registry, sources);
  return {
    registry,
    ...counters,
    eventsDropped,
    delivery: {
      observe: (labels: { readonly tenant: string; readonly stream: string }, seconds: number): void =>
        delivery.observe(deliveryFold.fold(labels), seconds),
    },
    spool,
    parked,
    tenantLabel: bound.tenant,
    providerLabel: bound.provider,
  };
}

function droppedCounter(sources: MetricsSources, registers: Registry[]): Counter {
  let told = 0;
  return new Counter({
    name: "mailboat_events_dropped_total",
    help: "Event records given up because JetStream was away.",
    registers,
    collect() {
      const now = sources.eventsDropped();
      this.inc(now - told);
      told = now;
    },
  });
}

function bounds(clock: Clock, forget: (label: string, value: string) => void) {
  return {
    tenant: createSeriesBound(tenantSeries, clock, (name) => forget("tenant", name)).label,
    provider: createSeriesBound(providerSeries, clock, (name) => forget("provider", name)).label,
  };
}

function declareGauges(registry: Registry, sources: MetricsSources): void {
  const sums = () => {
    const byTenant = new Map<string, QueueCounts>();
    const top = [...sources.queued()].sort((a, b) => total(b[1]) - total(a[1]));
    for (const [index, [tenant, counts]] of top.entries()) {
      const label = index < tenantSeries ? tenant : otherSeries;
      byTenant.set(label, add(byTenant.get(label), counts));
    }
    return byTenant;
  };
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    read: (gauge: Gauge<L>) => void,
  ): Gauge<L> =>
    new Gauge<L>({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        if (labelNames.length > 0) this.reset();
        read(this);
      },
    });
  gauge(
    "mailboat_queued_messages",
    "Entries queued in the shards this pod owns, by what they wait for; those under way count as ready.",
    ["tenant", "state"],
    (queued) => {
      for (const [tenant, { ready, inflight, waiting, suspended }] of sums())
        for (const [state, count] of Object.entries({ ready: ready + inflight, waiting, suspended }))
          queued.set({ tenant, state }, count);
    },
  );
  gauge(
    "mailboat_queue_oldest_seconds",
    "Age of the oldest entry queued in the shards this pod owns; of mail for later from its time on.",
    ["tenant"],
    (age) => {
      for (const [tenant, { oldest }] of sums())
        if (oldest > 0) age.set({ tenant }, Math.max(0, (sources.clock.now() - oldest) / 1000));
    },
  );
  gauge(
    "mailboat_connections",
    "Connections open to recipients' hosts.",
    ["provider", "source"],
    (connections) => {
      for (const [provider, bySource] of busiest(sources.connections()))
        for (const [source, open] of bySource) connections.inc({ provider, source }, open);
    },
  );
  gauge("mailboat_sendable_backlog", "Entries that could leave now if limits allowed it.", [], (backlog) => {
    let ready = 0;
    for (const counts of sources.queued().values()) ready += counts.ready;
    backlog.set(ready);
  });
  gauge(
    "mailboat_unserved_backlog",
    "Entries that could leave now and that no limit holds back: what more pods would send sooner.",
    [],
    (backlog) => backlog.set(sources.unserved()),
  );
  gauge("mailboat_shards_owned", "Shards whose lease this pod holds.", [], (owned) =>
    owned.set(sources.shardsOwned()),
  );
  gauge(
    "mailboat_store_used_ratio",
    "Fill of the fullest spool stream that this pod stores in; intake stops at 0.8.",
    [],
    (used) => used.set(sources.storeUsed()),
  );
  gauge("mailboat_config_generation", "Generation of the configuration this pod runs.", [], (generation) =>
    generation.set(sources.generation()),
  );
}

/** Open connections by provider and source, of the busiest providers by name and of the rest together. */
function busiest(connections: ReturnType<MetricsSources["connections"]>): [string, Map<string, number>][] {
  const byProvider = new Map<string, { sum: number; bySource: Map<string, number> }>();
  for (const { provider, source, open } of connections) {
    const known = byProvider.get(provider) ?? { sum: 0, bySource: new Map<string, number>() };
    byProvider.set(provider, known);
    known.sum += open;
    known.bySource.set(source, (known.bySource.get(source) ?? 0) + open);
  }
  return [...byProvider]
    .sort((a, b) => b[1].sum - a[1].sum)
    .map(([provider, { bySource }], index) => [index < providerSeries ? provider : otherSeries, bySource]);
}

function total(counts: QueueCounts): number {
  return counts.ready + counts.waiting + counts.suspended + counts.inflight;
}

function add(sum: QueueCounts | undefined, more: QueueCounts): QueueCounts {
  if (sum === undefined) return more;
  return {
    ready: sum.ready + more.ready,
    waiting: sum.waiting + more.waiting,
    suspended: sum.suspended + more.suspended,
    inflight: sum.inflight + more.inflight,
    oldest: Math.min(sum.oldest || more.oldest, more.oldest || sum.oldest),
  };
}
