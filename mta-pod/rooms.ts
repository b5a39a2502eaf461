/** Builds the rooms of one pod. No order of events is decided here; fails only as its rooms' constructors do. */
import { isGuestSite } from "#crds/wire/subject.ts";
import type { LiveConfig } from "./live-config.ts";
import { watchDeletes } from "./open-deletes.ts";
import type { PodOptions } from "./options.ts";
import type { Pod } from "./pod.ts";
import { createSettled, type RecentIds } from "./recent-ids.ts";
import { createResolver } from "./route/resolver.ts";
import { createRouter } from "./route/router.ts";
import { type SteadyClock, systemClock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { createIdMaker } from "./runtime/message-id.ts";
import { createScheduler } from "./schedule/scheduler.ts";
import type { Bundles } from "./spool/bundles.ts";
import type { Spool } from "./spool/connection.ts";
import { createEntries } from "./spool/entries.ts";
import { createEventLog } from "./spool/events.ts";
import { createOwnership } from "./spool/ownership.ts";
import type { OwnershipHandlers } from "./spool/ownership-handlers.ts";
import { createPublisher } from "./spool/publisher.ts";
import { createSettledLog } from "./spool/settled-log.ts";
import { createStates } from "./spool/states.ts";
import type { StoredMarks } from "./stored-marks.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { otherSeries } from "./telemetry/series.ts";
import { timedSpool } from "./timed-spool.ts";

export interface EngineParts {
  readonly options: PodOptions;
  readonly log: Log;
  readonly clock: SteadyClock;
  readonly incarnation: string;
  readonly live: LiveConfig;
  readonly spool: Spool;
}

export function buildRooms(
  {
    options,
    log,
    clock,
    incarnation,
    live,
    spool,
    bundles,
    recent,
    marks,
  }: EngineParts & { readonly bundles: Bundles; readonly recent: RecentIds; readonly marks: StoredMarks },
  handlers: OwnershipHandlers,
  providerOf: (site: string) => string,
): Pod {
  const scheduler = createScheduler({ random: Math.random, sources: live.current().manifest.egress.sources });
  clock.onStep(scheduler.clockSet.bind(scheduler));
  const ownership = createOwnership({ spool, clock: systemClock, log, handlers });
  const eventLog = createEventLog(spool);
  const publisher = createPublisher(spool);
  const metrics = createMetrics({
    clock,
    queued: () => scheduler.counts().tenants,
    connections: function* () {
      // Guests' are counted where they are.
      for (const site of [...scheduler.sites()].filter((one) => !isGuestSite(one)))
        for (const { source, open } of scheduler.snapshot(site)?.sources ?? [])
          yield { provider: providerOf(site), source, open };
    },
    heldTimes: () =>
      scheduler
        .takeHeldTimes()
        .filter(({ site }) => !isGuestSite(site))
        .map(({ site, binding, ms }) => ({
          provider: site === otherSeries ? otherSeries : providerOf(site),
          limit: binding,
          seconds: ms / 1000,
        })),
    eventsDropped: () => eventLog.dropped(),
    shardsOwned: () => ownership.ownedShards().length,
    generation: () => live.current().manifest.generation,
    unserved: () => scheduler.unserved(clock.now()).entries,
    storeUsed: () => publisher.usedRatio(),
  });
  const settledLog = createSettledLog(spool, {
    heard: (one, two) => recent.heard(one, two, clock.monotonic()),
    heardOld: (one, two) => recent.heardOld(one, two),
  });
  const deletes = watchDeletes(createEntries(spool, bundles), clock);
  const rooms = {
    publisher: marks.watch(publisher),
    entries: deletes.entries,
    states: createStates(spool, (shard, leaseSeq) => ownership.fenced(shard, leaseSeq)),
  };
  return {
    name: options.name,
    incarnation,
    clock,
    random: Math.random,
    log,
    metrics,
    router: createRouter({
      resolver: createResolver({ servers: options.resolvers }),
      clock,
      random: Math.random,
    }),
    scheduler,
    ...timedSpool(rooms, clock, (op, seconds) => metrics.spool.observe({ op }, seconds)),
    deletes,
    eventLog,
    settledLog,
    settled: createSettled(recent, { settledLog, clock }),
    ownership,
    newId: createIdMaker(() => clock.now()),
    config: live.current,
  };
}
