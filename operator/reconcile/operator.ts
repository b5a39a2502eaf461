/**
 * `mailboat operator`, put together: client → watches → election → reconcile, and the way back in order. Resolves with the exit
 * code: 0 when it was told to stop, 1 when it may not lead any more (another leads by then). Rejects when it cannot start.
 */
import { createClient } from "#operator/kube/client.ts";
import { systemClock } from "#operator/kube/clock.ts";
import { createElection } from "#operator/kube/election.ts";
import type { Clock, KubeClient, Log } from "#operator/kube/types.ts";
import { childNames } from "#operator/resources/object.ts";
import { startHealth } from "#operator/telemetry/health.ts";
import { createOperatorMetrics, type OperatorMetrics } from "#operator/telemetry/metrics.ts";
import { createEngine, type Engine } from "./engine.ts";
import { kinds, leaseName } from "./kinds.ts";
import { createOwnMetrics } from "./own-metrics.ts";
import { declarePoolMetrics } from "./pool-metrics.ts";

export interface OperatorOptions {
  /** Absent: the whole cluster. */
  readonly namespaces: readonly string[] | undefined;
  /** Its own, where the Lease is. */
  readonly namespace: string;
  readonly identity: string;
  readonly podImage: string;
  readonly imagePullPolicy: string | undefined;
  /** Of the pools' PodMonitors, besides our own: what a Prometheus selects them by. */
  readonly podMonitorLabels: Readonly<Record<string, string>>;
  readonly leaderElection: boolean;
  readonly bind: string;
  /** 0 = any free one, as below. */
  readonly metricsPort: number;
  readonly healthPort: number;
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
}

export interface OperatorDeps {
  readonly log: Log;
  /** Aborted when the process is told to stop. */
  readonly signal: AbortSignal;
  /** Once its ports are open. */
  onListening?(ports: { readonly metrics: number; readonly health: number }): void;
}

const retryMs = 2000;
/** What nothing has been heard of for so long is stale; bookmarks come each minute. */
const staleMs = 300_000;

export async function runOperator(options: OperatorOptions, deps: OperatorDeps): Promise<number> {
  const { log, signal } = deps;
  const clock = systemClock;
  const metrics = createOperatorMetrics();
  const { kubeconfig, context } = options;
  const client = createClient({ kubeconfig, context, clock, metrics });
  let notReady = (): readonly string[] => ["starting"];
  const { bind, metricsPort, healthPort } = options;
  const { registry } = metrics;
  const health = await startHealth({ bind, metricsPort, healthPort, registry, notReady: () => notReady() });
  deps.onListening?.({ metrics: health.metricsPort, health: health.healthPort });
  const told = untilAborted(signal);
  const engine = await openEngine({ options, log, signal, client, clock, metrics });
  notReady = () => engine.stores.notFresh(staleMs);
  const lost = Promise.withResolvers<number>();
  const { namespace, identity } = options;
  const election = options.leaderElection
    ? createElection({
        client,
        clock,
        log,
        metrics,
        namespace,
        name: leaseName,
        identity,
        onLost(reason) {
          log.error("lease lost", { reason });
          lost.resolve(1);
        },
      })
    : undefined;
  void Promise.all([engine.stores.whenSynced(), election?.acquired]).then(() => {
    if (signal.aborted) return;
    log.info("leading", { identity });
    engine.lead();
  });
  const exitCode = await Promise.race([told.then(() => 0), lost.promise]);
  log.info("stopping", { exitCode });
  // Another may lead already: nothing that is under way is waited for, and no write of ours must come late.
  if (exitCode !== 0) return exitCode;
  await engine.stop();
  // Not before nothing of ours is under way any more: the next leader begins at once.
  await election?.release();
  health.close();
  client.close();
  return exitCode;
}

interface Parts {
  readonly options: OperatorOptions;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly metrics: OperatorMetrics;
}

/** The watches begin as soon as the API server has said what it serves. */
async function openEngine({ options, log, signal, client, clock, metrics }: Parts): Promise<Engine> {
  const own = createOwnMetrics(metrics.registry);
  const hasPodMonitors = await answered(() => client.hasType(kinds.podMonitors), { log, signal, clock });
  const engine = createEngine({
    client,
    clock,
    log,
    metrics,
    namespaces: options.namespaces,
    podImage: options.podImage,
    imagePullPolicy: options.imagePullPolicy,
    identity: options.identity,
    hasPodMonitors: hasPodMonitors === true,
    podMonitorLabels: options.podMonitorLabels,
    observeCompile: own.compiled,
    observeProgrammed: own.programmed,
  });
  metrics.watches(() => engine.stores.readings());
  declarePoolMetrics(metrics.registry, {
    pools: () => engine.stores.values("pools"),
    tenants: () => engine.stores.values("tenants"),
    deployment: (pool) =>
      engine.stores.childrenOf(pool).get(`Deployment/${childNames.main(pool.split("/")[1] ?? "")}`),
    homeOf: (tenant) => engine.context.formerPools.homes.get(tenant),
    now: () => clock.now(),
  });
  return engine;
}

/** undefined = told to stop before. */
async function answered<Value>(
  ask: () => Promise<Value>,
  { log, signal, clock }: Pick<Parts, "log" | "signal" | "clock">,
): Promise<Value | undefined> {
  while (!signal.aborted) {
    try {
      return await ask();
    } catch (error) {
      log.warn("api server not reachable", { error: String(error) });
      const pause = new Promise<void>((resolve) => void clock.after(retryMs, resolve));
      await Promise.race([pause, untilAborted(signal)]);
    }
  }
  return undefined;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
