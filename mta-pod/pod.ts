/** What main builds and corridors share: the rooms of one pod, its configuration and its hands on time. No behaviour here. */
import type { PodConfig, TenantConfig } from "#crds/pod-config/schema.ts";
import type { EventFacts } from "#crds/wire/event.ts";
import type { WatchedDeletes } from "./open-deletes.ts";
import type { Settled } from "./recent-ids.ts";
import type { Router } from "./route/router.ts";
import type { Clock, Random } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import type { Scheduler } from "./schedule/types.ts";
import type { Entries } from "./spool/entries.ts";
import type { EventLog } from "./spool/events.ts";
import type { Ownership } from "./spool/ownership.ts";
import type { Publisher } from "./spool/publisher.ts";
import type { SettledLog } from "./spool/settled-log.ts";
import type { States } from "./spool/states.ts";
import type { Metrics } from "./telemetry/metrics.ts";

export interface Pod {
  readonly name: string;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly router: Router;
  readonly scheduler: Scheduler;
  readonly publisher: Publisher;
  readonly entries: Entries;
  readonly deletes: Pick<WatchedDeletes, "stallMs">;
  readonly states: States;
  readonly eventLog: EventLog;
  readonly settledLog: SettledLog;
  readonly settled: Settled;
  readonly ownership: Ownership;
  readonly newId: () => string;
  readonly config: () => PodConfig;
}

export function tenantOf(pod: Pod, id: string): TenantConfig | undefined {
  return pod.config().tenants.get(id);
}

/** Appends an event; pool, pod and time are the same for all and filled in here. */
export function record(pod: Pod, facts: EventFacts): void {
  pod.eventLog.append({ time: pod.clock.now(), pool: pod.config().manifest.pool, pod: pod.name }, facts);
}

/** Live pods that are not among those that answered. */
export function silentOf(pod: Pod, answers: readonly { readonly pod: string }[]): string[] {
  const heard = new Set(answers.map((answer) => answer.pod));
  return pod.ownership
    .members()
    .map((member) => member.pod)
    .filter((name) => !heard.has(name));
}
