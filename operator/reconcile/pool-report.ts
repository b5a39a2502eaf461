/** What a pool's pods say, added up and written into its status; numbers at a measured pace, everything else at once. */
import type { KubeObject } from "#operator/kube/types.ts";
import { selectorText } from "#operator/resources/object.ts";
import type { Unsuitable } from "#operator/streams/pool-queue.ts";
import type { Context } from "./context.ts";
import type { PoolConfig } from "./numbering.ts";
import type { Applied } from "./pool.ts";
import { fieldOf, isReady, rolloutOf, wantedBy } from "./pods.ts";
import { pacedQueue, poolConditions, type PoolFacts, poolFields, type QueueNumbers } from "./pool-status.ts";
import type { PoolReports, Told } from "./reports.ts";
import { keyOf } from "./stores.ts";
import { childNames } from "#operator/resources/object.ts";

export interface PoolStatus {
  /** Whether all ready pods run what they should, as far as is known. */
  isSettled(key: string): boolean;
  /** Whether the pod says that it runs this configuration. */
  isCurrent(key: string, pod: KubeObject, config: PoolConfig): boolean;
  knowQueue(key: string, unsuitable: () => Unsuitable | undefined): void;
  /** @returns ms after which there is more to write; undefined = nothing is held back */
  write(object: KubeObject, found: Found): Promise<number | undefined>;
  /** Messages that it had queued, as far as is known: of a pool that is gone, as it was seen last. */
  queued(pool: KubeObject): number;
  forget(key: string): void;
}

interface Found extends Applied {
  readonly writeTrouble: PoolFacts["writeTrouble"];
  readonly isPaused: boolean;
}

/** After so long a pod that keeps the last good configuration is said to refuse the newest; files come one by one before. */
const refusedAfterMs = 10_000;

export function createPoolStatus(context: Context): PoolStatus {
  const { stores, clock, configuration, reports, autoscaling } = context;
  const queueWrittenAt = new Map<string, number>();
  const behindSince = new Map<string, { generation: number; at: number }>();
  const suitability = new Map<string, () => Unsuitable | undefined>();

  const programmedOf = (key: string, config: PoolConfig | undefined): PoolFacts["programmed"] => {
    const ready = [...stores.podsOf(key).values()].filter(isReady);
    if (config === undefined) return { ready: ready.length, current: 0, refusing: 0 };
    const current = ready.filter((pod) => isCurrent(key, pod, config)).length;
    const { told } = reports.of(key);
    const refusing = ready.filter(({ metadata }) => told.get(metadata.name)?.report.refuses === true).length;
    const before = behindSince.get(key);
    if (current === ready.length) {
      // Of a configuration that came to running pods; a pod that starts is another matter.
      if (before?.generation === config.generation)
        context.programmed((clock.monotonic() - before.at) / 1000);
      behindSince.delete(key);
    } else if (behindSince.get(key)?.generation !== config.generation)
      behindSince.set(key, { generation: config.generation, at: clock.monotonic() });
    const since = behindSince.get(key)?.at ?? clock.monotonic();
    const hasRefused = clock.monotonic() - since >= refusedAfterMs;
    return { ready: ready.length, current, refusing: hasRefused ? refusing : 0 };
  };

  const isCurrent = (key: string, { metadata }: KubeObject, config: PoolConfig): boolean => {
    const report = reports.of(key).told.get(metadata.name)?.report;
    return (
      report !== undefined &&
      report.generation === config.generation &&
      report.digest === config.digest &&
      report.keysDigest === config.keysDigest
    );
  };

  const factsOf = (object: KubeObject, found: Found): PoolFacts => {
    const key = keyOf(object);
    const { namespace, name } = object.metadata;
    const config = configuration.pool(key);
    const known = reports.of(key);
    const deployment = stores.get("deployments", `${namespace}/${childNames.main(name)}`);
    const spec = configuration.poolSpec(key)?.spec;
    const current = wantedBy(deployment);
    // Where applying failed: what it would have asked for.
    const asked = spec === undefined ? current : (autoscaling.replicas(key, spec, current) ?? spec.replicas);
    const wrong = suitability.get(key)?.();
    const verdict = configuration.verdict("SendingPool", key);
    const isDeleted = object.metadata.deletionTimestamp !== undefined;
    return {
      verdict: verdict?.conditions ?? [],
      isCompiled: config !== undefined,
      wanted: found.wanted ?? asked ?? 0,
      pods: rolloutOf(deployment),
      isWaitingToRoll: found.isWaiting === true,
      programmed: programmedOf(key, config),
      config: config === undefined ? undefined : { generation: config.generation, digest: config.digest },
      // Pods that go one after the other each say less.
      queue: isDeleted ? undefined : queueOf(known),
      scaling: spec?.autoscaling === undefined ? undefined : { reason: autoscaling.reason(key) },
      natsTrouble: known.wasAsked ? known.trouble : undefined,
      waiting: waitingOf([...stores.podsOf(key).values()], known),
      unsuitable: wrong === undefined ? undefined : `expected ${wrong.expected}, got ${wrong.got}`,
      writeTrouble: found.writeTrouble,
      isPaused: found.isPaused,
      kept: isDeleted ? toldOf(object) : undefined,
    };
  };

  return {
    isCurrent,
    isSettled(key) {
      const config = configuration.pool(key);
      if (config === undefined) return true;
      const { ready, current } = programmedOf(key, config);
      return ready === current;
    },
    knowQueue: (key, unsuitable) => void suitability.set(key, unsuitable),
    async write(object, found) {
      const key = keyOf(object);
      const verdict = configuration.verdict("SendingPool", key);
      if (verdict === undefined) return undefined;
      const facts = factsOf(object, found);
      const now = clock.monotonic();
      const before = object["status"];
      const sinceMs = now - (queueWrittenAt.get(key) ?? Number.NEGATIVE_INFINITY);
      const { queue, isNews, dueMs } = pacedQueue(fieldOf(before, "queue"), facts.queue, sinceMs);
      const tenants = fieldOf(verdict, "tenants");
      const fields = poolFields(facts, {
        selector: selectorText(object.metadata.name, "pod"),
        tenants: typeof tenants === "number" ? tenants : undefined,
        before,
        now: clock.now(),
      });
      const written = await context.statuses.write("pools", object, {
        generation: verdict.observedGeneration,
        conditions: poolConditions(facts),
        fields: queue === undefined ? fields : { ...fields, queue },
      });
      if (written === undefined) return dueMs;
      if (isNews) queueWrittenAt.set(key, now);
      context.wrote("pools", key, written);
      return dueMs;
    },
    queued(pool) {
      const isDeleted = pool.metadata.deletionTimestamp !== undefined;
      return (isDeleted ? undefined : queueOf(reports.of(keyOf(pool))))?.messages ?? toldOf(pool);
    },
    forget(key) {
      for (const one of [queueWrittenAt, behindSince, suitability]) one.delete(key);
    },
  };
}

/** Those of `pods` that cannot begin, by name. */
function waitingOf(pods: readonly KubeObject[], { waiting }: PoolReports): PoolFacts["waiting"] {
  const names = pods.map(({ metadata }) => metadata.name).sort();
  return names.flatMap((pod) => {
    const said = waiting.get(pod);
    return said === undefined ? [] : [{ pod, why: said.why }];
  });
}

/** Messages queued, as its status says. */
function toldOf(pool: KubeObject): number {
  const messages = fieldOf(fieldOf(pool["status"], "queue"), "messages");
  return typeof messages === "number" ? messages : 0;
}

/** All pods together. */
function queueOf({ told }: PoolReports): QueueNumbers | undefined {
  if (told.size === 0) return undefined;
  const reports = [...told.values()].map(({ report }: Told) => report);
  const oldest = reports.flatMap(({ oldestAt }) => (oldestAt === null ? [] : [oldestAt]));
  return {
    messages: reports.reduce((sum, { queued }) => sum + queued, 0),
    sendable: reports.reduce((sum, { sendable }) => sum + sendable, 0),
    oldestAt: oldest.length === 0 ? undefined : Math.min(...oldest),
  };
}
