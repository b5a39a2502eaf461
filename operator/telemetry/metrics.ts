/**
 * The operator's metrics, declared once with their prose, under controller-runtime's names, so that dashboards made for it work unchanged.
 * Label values are kinds, controllers, methods and codes: bounded by the program. Never throws after start.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What a work queue shows when it is scraped. */
export interface QueueReading {
  readonly high: number;
  readonly low: number;
  readonly active: number;
  readonly workers: number;
  readonly unfinishedSeconds: number;
  readonly longestSeconds: number;
}

/** What is shown of a watched kind. */
export interface WatchReading {
  readonly kind: string;
  readonly objects: number;
  /** Since the API server was last heard of. */
  readonly silentSeconds: number;
}

export type OperatorMetrics = ReturnType<typeof createOperatorMetrics>;

/** Results that controller-runtime knows and this operator gives; shown as 0 from the start, so that rates begin at the first. */
const results = ["success", "error", "requeue_after"] as const;
const waitBuckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300];

interface Watched {
  readonly queues: Map<string, () => QueueReading>;
  watches: () => Iterable<WatchReading>;
}

/** Makes the registry; what work queues and watches show is read while a scrape runs. */
export function createOperatorMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const watched: Watched = { queues: new Map(), watches: () => [] };
  const counters = declareCounters(registry);
  const histograms = declareHistograms(registry);
  declareGauges(registry, watched);
  const leading = new Gauge({
    name: "leader_election_master_status",
    help: "1 while this process leads, by Lease.",
    labelNames: ["name"] as const,
    registers: [registry],
  });
  return {
    registry,
    request: (code: string, method: string, host: string) => counters.requests.inc({ code, method, host }),
    leading: (name: string, isLeader: boolean) => leading.set({ name }, isLeader ? 1 : 0),
    /** `read` gives the kinds that are watched at the time of a scrape. */
    watches(read: () => Iterable<WatchReading>) {
      watched.watches = read;
    },
    queue(controller: string, read: () => QueueReading) {
      watched.queues.set(controller, read);
      const labels = { name: controller, controller };
      counters.adds.inc(labels, 0);
      counters.retries.inc(labels, 0);
      for (const result of results) counters.reconciles.inc({ controller, result }, 0);
      for (const counter of [counters.errors, counters.panics, counters.timeouts])
        counter.inc({ controller }, 0);
      return {
        added: () => counters.adds.inc(labels),
        retried: () => counters.retries.inc(labels),
        started: (waitedSeconds: number) => histograms.queueTime.observe(labels, waitedSeconds),
        ended(result: (typeof results)[number], seconds: number) {
          counters.reconciles.inc({ controller, result });
          if (result === "error") counters.errors.inc({ controller });
          histograms.workTime.observe(labels, seconds);
          histograms.reconcileTime.observe({ controller }, seconds);
        },
        panicked: () => counters.panics.inc({ controller }),
        timedOut: () => counters.timeouts.inc({ controller }),
      };
    },
  };
}

function declareCounters(registry: Registry) {
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter<Label>({ name, help, labelNames, registers: [registry] });
  const byController = ["controller"] as const;
  const byQueue = ["name", "controller"] as const;
  return {
    requests: counter(
      "rest_client_requests_total",
      "Requests to the API server, by status; <error> = no answer.",
      ["code", "method", "host"],
    ),
    reconciles: counter("controller_runtime_reconcile_total", "Reconciles, by what came of them.", [
      "controller",
      "result",
    ]),
    errors: counter(
      "controller_runtime_reconcile_errors_total",
      "Reconciles that failed and are tried again.",
      byController,
    ),
    panics: counter(
      "controller_runtime_reconcile_panics_total",
      "Failures that are bugs (TypeError and the like).",
      byController,
    ),
    timeouts: counter(
      "controller_runtime_reconcile_timeouts_total",
      "Reconciles that were told to stop after their time.",
      byController,
    ),
    adds: counter("workqueue_adds_total", "Keys added to the queue.", byQueue),
    retries: counter("workqueue_retries_total", "Keys added again after a failure.", byQueue),
  };
}

function declareHistograms(registry: Registry) {
  const histogram = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Histogram<Label>({ name, help, labelNames, buckets: waitBuckets, registers: [registry] });
  return {
    reconcileTime: histogram("controller_runtime_reconcile_time_seconds", "How long reconciles took.", [
      "controller",
    ]),
    queueTime: histogram("workqueue_queue_duration_seconds", "How long keys waited for a worker.", [
      "name",
      "controller",
    ]),
    workTime: histogram("workqueue_work_duration_seconds", "How long workers took for a key.", [
      "name",
      "controller",
    ]),
  };
}

function declareGauges(registry: Registry, watched: Watched): void {
  const gauge = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    show: (gauge: Gauge<Label>) => void,
  ) =>
    new Gauge<Label>({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        show(this);
      },
    });
  const perController = (name: string, help: string, value: (reading: QueueReading) => number) =>
    gauge(name, help, ["controller"], (shown) => {
      for (const [controller, read] of watched.queues) shown.set({ controller }, value(read()));
    });
  const perQueue = (name: string, help: string, value: (reading: QueueReading) => number) =>
    gauge(name, help, ["name", "controller"], (shown) => {
      for (const [controller, read] of watched.queues)
        shown.set({ name: controller, controller }, value(read()));
    });
  perController("controller_runtime_active_workers", "Reconciles that run now.", ({ active }) => active);
  perController(
    "controller_runtime_max_concurrent_reconciles",
    "Reconciles that may run at a time.",
    ({ workers }) => workers,
  );
  gauge(
    "workqueue_depth",
    "Keys that wait for a worker, by priority.",
    ["name", "controller", "priority"],
    (depth) => {
      for (const [controller, read] of watched.queues) {
        const { high, low } = read();
        depth.set({ name: controller, controller, priority: "0" }, high);
        // controller-runtime's number for what the first list brought.
        depth.set({ name: controller, controller, priority: "-100" }, low);
      }
    },
  );
  perQueue(
    "workqueue_unfinished_work_seconds",
    "Sum of the time that running reconciles have taken so far.",
    ({ unfinishedSeconds }) => unfinishedSeconds,
  );
  perQueue(
    "workqueue_longest_running_processor_seconds",
    "Time that the longest running reconcile has taken so far.",
    ({ longestSeconds }) => longestSeconds,
  );
  gauge(
    "mailboat_operator_watch_silent_seconds",
    "Since the API server was last heard of about a kind; over two minutes means an outage.",
    ["kind"],
    (silent) => {
      for (const { kind, silentSeconds } of watched.watches()) silent.set({ kind }, silentSeconds);
    },
  );
  gauge(
    "mailboat_operator_watched_objects",
    "Objects of a kind that the operator keeps in memory.",
    ["kind"],
    (objects) => {
      for (const { kind, objects: count } of watched.watches()) objects.set({ kind }, count);
    },
  );
}
