/**
 * Puts the machines of the operator together: what is watched, what a change sets going, and the queues that carry it out. Watches
 * from its start on; writes only while it leads.
 */
import { createObjectGatherer } from "#operator/gather/objects.ts";
import { createExpectations } from "#operator/kube/expectations.ts";
import { createReflector } from "#operator/kube/reflector.ts";
import type { Clock, KubeClient, KubeMetrics, Log, Random, WorkQueue } from "#operator/kube/types.ts";
import { createWorkQueue } from "#operator/kube/work-queue.ts";
import { createStreams } from "#operator/streams/streams.ts";
import { createAutoscaling } from "./autoscaling.ts";
import { createChildren } from "./children.ts";
import { createConfiguration, type Kind } from "./configuration.ts";
import type { Context } from "./context.ts";
import { createEventRecorder } from "./events.ts";
import { createFormerPools } from "./former-pools.ts";
import { createInheritance } from "./inheritance.ts";
import { kinds } from "./kinds.ts";
import { createPoolReconciler } from "./pool.ts";
import { createReports } from "./reports.ts";
import { createRouting } from "./routing.ts";
import { createSecretValues } from "./secrets.ts";
import { createShapeReconciler } from "./shape.ts";
import { createStatusWriter } from "./status-writer.ts";
import { keyOf, openStores, type Stores } from "./stores.ts";
import { createTenantReconciler } from "./tenant.ts";
import { createWitness } from "./witness.ts";

export interface EngineOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: Random;
  readonly metrics?: KubeMetrics | undefined;
  /** Absent: the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  readonly podImage: string;
  readonly imagePullPolicy?: string | undefined;
  /** In events, and the client's name at NATS. */
  readonly identity: string;
  /** Whether the API server serves that kind; asked again while the operator runs. */
  readonly hasPodMonitors: boolean;
  /** Of the pools' PodMonitors, besides our own. */
  readonly podMonitorLabels?: Readonly<Record<string, string>> | undefined;
  /** How often; default one minute. */
  readonly podMonitorMs?: number;
  /** How long a compile took. */
  observeCompile?(seconds: number): void;
  /** How long a new configuration took to reach all ready pods of its pool. */
  observeProgrammed?(seconds: number): void;
}

export interface Engine {
  readonly stores: Stores;
  /** Resources by pool that are known, for metrics. */
  readonly context: Context;
  /** Begins to write. */
  lead(): void;
  stop(): Promise<void>;
}

/** Of the status of a shape or tenant little depends; pools are few and each may write hundreds of objects. */
const workers = { SendingPool: 4, Tenant: 32, TrafficShape: 2 } as const;
/** A write that the watch has not shown yet. */
const unseenMs = 100;
/** A Secret that could not be read. */
const unreadMs = 1000;

export function createEngine(options: EngineOptions): Engine {
  const { client, clock, log } = options;
  let isLeading = false;
  let isStopped = false;
  const { podMonitorMs = 60_000 } = options;
  const queues = new Map<Kind, WorkQueue>();
  const enqueue = (kind: Kind, key: string, isInitial = false): void => {
    if (isLeading) queues.get(kind)?.add(key, { priority: isInitial ? "low" : "high" });
  };
  const gatherer = createObjectGatherer();
  const stores = openStores({
    watch: (watched) =>
      createReflector({
        client,
        clock,
        log,
        ...(options.random === undefined ? {} : { random: options.random }),
        ...watched,
        onChange: (ref, after, { before, isInitial }) =>
          watched.onChange({
            key: ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`,
            before,
            after,
            isInitial,
          }),
      }),
    namespaces: options.namespaces,
    tenantSpec: (tenant) => gatherer.tenant(tenant)?.spec,
    onChange: (name, change) => {
      if (isLeading) routing.onChange(name, change);
    },
  });
  stores.watchPodMonitors(options.hasPodMonitors);
  const secrets = createSecretValues({
    stores,
    client,
    clock,
    log,
    onRead(isRead) {
      if (isRead) configuration.touch("arrival");
      else clock.after(unreadMs, () => configuration.touch("arrival"));
    },
  });
  const formerPools = createFormerPools(clock.now);
  const events = createEventRecorder({ client, clock, log, instance: options.identity });
  const streams = createStreams({ name: `mailboat operator ${options.identity}`, after: clock.after });
  const configuration = createConfiguration({
    stores,
    gatherer,
    secrets,
    formerPools,
    inheritance: createInheritance({ stores, gatherer, client, secrets, formerPools, log }),
    clock,
    log,
    onChange: enqueue,
    isFilling: () => routing.isFilling(),
    observe: (seconds) => options.observeCompile?.(seconds),
  });
  const expectations = createExpectations({
    clock,
    seen(type, namespace) {
      const name = (["tenants", "pools", "shapes"] as const).find((one) => kinds[one] === type);
      return name === undefined || namespace === undefined
        ? undefined
        : stores.resourceVersion(name, namespace);
    },
  });
  const context: Context = {
    client,
    clock,
    log,
    stores,
    secrets,
    formerPools,
    configuration,
    children: createChildren({ stores, client, clock }),
    reports: createReports({ clock, onReport: (pool) => routing.onReport(pool) }),
    streams,
    autoscaling: createAutoscaling(clock),
    statuses: createStatusWriter({ client, clock, events }),
    events,
    images: { pod: options.podImage, pullPolicy: options.imagePullPolicy },
    podMonitorLabels: options.podMonitorLabels,
    programmed: (seconds) => options.observeProgrammed?.(seconds),
    wrote: (name, key, resourceVersion) =>
      expectations.wrote(`${kinds[name].kind} ${key}`, {
        type: kinds[name],
        namespace: key.split("/")[0],
        resourceVersion,
      }),
  };
  const routing = createRouting({
    context,
    enqueue,
    witness: createWitness({ queueOf: streams.known, clock, log }),
  });
  const reconcilers = {
    SendingPool: createPoolReconciler(context),
    Tenant: createTenantReconciler(context),
    TrafficShape: createShapeReconciler(context),
  };
  for (const kind of ["SendingPool", "Tenant", "TrafficShape"] as const)
    queues.set(
      kind,
      createWorkQueue({
        name: kind.toLowerCase(),
        workers: workers[kind],
        baseMs: 200,
        maxMs: 300_000,
        clock,
        log,
        metrics: options.metrics,
        ...(options.random === undefined ? {} : { random: options.random }),
        async reconcile(key, signal) {
          if (!expectations.fulfilled(`${kind} ${key}`)) return { requeueAfterMs: unseenMs };
          return reconcilers[kind].reconcile(key, signal);
        },
      }),
    );
  let cancelLook: () => void = () => {};
  /** Prometheus' operator may be installed, or taken away, after this one. */
  const lookForPodMonitors = async (): Promise<void> => {
    try {
      const isServed = await client.hasType(kinds.podMonitors);
      if (isStopped || isServed === stores.hasPodMonitors()) return;
      log.info(isServed ? "pod monitors served" : "pod monitors gone");
      stores.watchPodMonitors(isServed);
      for (const pool of stores.values("pools")) enqueue("SendingPool", keyOf(pool));
    } catch (error) {
      log.debug("pod monitors not looked for", { error: String(error) });
    } finally {
      if (!isStopped) planLook();
    }
  };
  const planLook = (): void => {
    cancelLook = clock.after(podMonitorMs, () => void lookForPodMonitors());
  };
  planLook();
  return {
    stores,
    context,
    lead() {
      isLeading = true;
      // As if the first list came only now.
      for (const name of ["pools", "shapes", "tenants"] as const)
        for (const after of stores.values(name))
          routing.onChange(name, { key: keyOf(after), before: undefined, after, isInitial: true });
      configuration.touch();
    },
    async stop() {
      isLeading = false;
      isStopped = true;
      cancelLook();
      configuration.stop();
      context.reports.stop();
      stores.stop();
      await Promise.all([...queues.values()].map((queue) => queue.stop()));
      await streams.close();
    },
  };
}
