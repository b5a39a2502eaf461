/** Puts one pod together and takes it apart again. Rejects when a port is taken, or when stopped while it still waits. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { createAdmission } from "./admit/admission.ts";
import { createAttempts } from "./attempt.ts";
import { createDeliver, type Deliver } from "./deliver.ts";
import { createExplain } from "./explain.ts";
import { openFront } from "./front.ts";
import { createIntake } from "./intake.ts";
import { type LiveConfig, liveConfig } from "./live-config.ts";
import { createOutbound } from "./outbound.ts";
import type { PodOptions } from "./options.ts";
import { createParents } from "./parents.ts";
import type { Pod } from "./pod.ts";
import { createReceive } from "./receive.ts";
import { RecentIds } from "./recent-ids.ts";
import { createResolver } from "./route/resolver.ts";
import { createRouter } from "./route/router.ts";
import { steadyClock, systemClock } from "./runtime/clock.ts";
import type { Log } from "./runtime/log.ts";
import { createIdMaker } from "./runtime/message-id.ts";
import { createScheduler } from "./schedule/scheduler.ts";
import { createSettlement } from "./settlement.ts";
import { createShards } from "./shards.ts";
import { createSigners } from "./signers.ts";
import { createSites } from "./sites.ts";
import { connectSpool, type Spool } from "./spool/connection.ts";
import { createEntries } from "./spool/entries.ts";
import { createEventLog } from "./spool/events.ts";
import { createOwnership } from "./spool/ownership.ts";
import { createPeers } from "./spool/peers.ts";
import { createPublisher } from "./spool/publisher.ts";
import { createStates } from "./spool/states.ts";
import { ensureStreams } from "./spool/streams.ts";
import { type HealthServer, startHealth } from "./telemetry/health.ts";
import { createMetrics } from "./telemetry/metrics.ts";

export interface StartOptions {
  readonly options: PodOptions;
  readonly log: Log;
  readonly incarnation: string;
  /** Aborted when the pod is told to stop, also while it is still starting. */
  readonly signal: AbortSignal;
}

export interface RunningPod {
  readonly ports: Readonly<Record<string, number>>;
  /** Stops taking, finishes what is open within the grace time, hands the shards over. */
  stop(): Promise<void>;
}

/** Left of the grace time for the hand-over itself, after transactions have had theirs. */
const handOverMs = 5000;
const quiescePollMs = 10;

export async function startPod(start: StartOptions): Promise<RunningPod> {
  const { options, log, incarnation, signal } = start;
  const clock = steadyClock(systemClock);
  const live = await liveConfig(options, log, signal);
  const { manifest } = live.current();
  const spool = await connectSpool({
    servers: options.nats.length > 0 ? options.nats : manifest.queue.servers,
    pool: manifest.pool,
    pod: options.name,
    incarnation,
    shards: manifest.queue.shards,
    replicas: manifest.queue.replicas,
    maxBytesPerShard: manifest.queue.maxBytesPerShard,
    log,
    clock,
    signal,
  });
  await ensureStreams(spool);
  const engine = buildEngine({ options, log, clock, incarnation, live, spool });
  await engine.pod.ownership.start();
  const front = await openFront({
    options,
    clock,
    log,
    hostname: manifest.hostname,
    hooks: engine.receive,
    explain: engine.explain,
    admission: engine.admission,
    witness: (pod, dead) => engine.pod.ownership.freeDead(pod, dead),
  });
  let stopping = false;
  const health: HealthServer = await startHealth({
    host: options.bind,
    port: options.ports.metrics,
    metrics: engine.pod.metrics,
    notReady: () => [
      ...(stopping ? ["stopping"] : []),
      ...(spool.connected() ? [] : ["nats is not reachable"]),
    ],
    status: engine.status,
  });
  return {
    ports: { ...front.ports, metrics: health.port },
    async stop() {
      stopping = true;
      const graceMs = options.drainMs > 0 ? options.drainMs : live.current().manifest.drainTimeoutMs;
      await front.close(graceMs);
      await engine.stop(graceMs);
      await spool.close();
      health.close();
    },
  };
}

interface EngineParts {
  readonly options: PodOptions;
  readonly log: Log;
  readonly clock: Pod["clock"];
  readonly incarnation: string;
  readonly live: LiveConfig;
  readonly spool: Spool;
}

/** Rooms first, then the corridors on top of them; the three knots (owner ↔ index ↔ attempts) are tied by functions. */
function buildEngine({ options, log, clock, incarnation, live, spool }: EngineParts) {
  const { shards: shardCount } = spool.options;
  /** Shards that are being handed over: what runs on them ends, nothing new begins. */
  const leaving = new Set<number>();
  const mayBegin = (shard: number) => !leaving.has(shard);
  const pod = buildRooms(
    { options, log, clock, incarnation, live, spool },
    {
      onOwned: (shard, leaseSeq) => shards.owned(shard, leaseSeq),
      onLost: (shard, reason) => {
        leaving.delete(shard);
        shards.lost(shard, reason);
        outbound.abandon(shard);
      },
      quiesce: (shard) =>
        settled(() => deliver.inFlight(shard).size + parents.underWay(shard) === 0, handOverMs),
    },
  );
  const recent = new RecentIds();
  let admission = createAdmission(live.current());
  let signers = createSigners(live.current(), log);
  const shards = createShards({ spool, log, deliver: (): Deliver => deliver });
  const { leaseSeqOf, owns, stored, reindex } = shards;
  const intake = createIntake({ router: pod.router, publisher: pod.publisher, shards: shardCount, stored });
  const settlement = createSettlement({
    pod,
    intake,
    recent,
    owns,
    fenced: (shard) => pod.ownership.fenced(shard),
  });
  const sites = createSites(pod, shardCount, () => deliver.pump());
  const outbound = createOutbound(pod);
  const mayProceed = (shard: number) => owns(shard) && pod.ownership.mayProceed(shard);
  const attempts = createAttempts({ pod, outbound, sites, settlement, signers: () => signers, mayProceed });
  const parents = createParents({ pod, intake, shards: shardCount, leaseSeqOf, owns, stored });
  const splitParent = parents.split;
  const deliver = createDeliver({
    pod,
    mayBegin,
    attempts,
    sites,
    settlement,
    recent,
    splitParent,
    leaseSeqOf,
    reindex,
  });
  const peers = createPeers({ spool, members: () => pod.ownership.members() });
  const explain = createExplain({ pod, peers, deliver });
  const adopt = (config: PodConfig): void => {
    admission = createAdmission(config);
    signers = createSigners(config, log);
    pod.router.configure(config.manifest.rules, config.manifest.egress.allowDestinations);
    pod.scheduler.setTenants(tenantPolicies(config), clock.now());
    pod.scheduler.setSources(config.manifest.egress.sources, clock.now());
    sites.refresh();
    deliver.pump();
  };
  adopt(live.current());
  live.onChange(adopt);
  live.onRefused(() => pod.metrics.configErrors.inc());
  const receive = createReceive({
    pod,
    intake,
    admission: () => admission,
    queued: (tenant) => queuedHere(pod, tenant),
    livePods: () => pod.ownership.members().length,
  });
  return {
    pod,
    receive,
    explain,
    admission: () => admission,
    status: () => statusOf(pod, deliver, live),
    async stop(graceMs: number) {
      deliver.stop();
      await settled(() => deliver.running() === 0, graceMs);
      await pod.ownership.release();
      outbound.destroyAll();
      explain.stop();
      peers.close();
      await settled(() => pod.entries.removing() === 0, handOverMs);
      await pod.publisher.close();
      await pod.eventLog.close();
      pod.entries.close();
      pod.states.close();
      await pod.ownership.close();
    },
  };
}

function buildRooms(
  { options, log, clock, incarnation, live, spool }: EngineParts,
  handlers: Parameters<typeof createOwnership>[0]["handlers"],
): Pod {
  const scheduler = createScheduler({ random: Math.random, sources: live.current().manifest.egress.sources });
  const ownership = createOwnership({ spool, clock: systemClock, log, handlers });
  return {
    name: options.name,
    incarnation,
    clock,
    random: Math.random,
    log,
    metrics: createMetrics({
      clock,
      queued: () => scheduler.counts().tenants,
      connections: function* () {
        for (const site of scheduler.sites())
          yield { provider: site, source: "", open: scheduler.siteState(site).open };
      },
      shardsOwned: () => ownership.ownedShards().length,
      generation: () => live.current().manifest.generation,
    }),
    router: createRouter({
      resolver: createResolver({ servers: options.resolvers }),
      clock,
      random: Math.random,
    }),
    scheduler,
    publisher: createPublisher(spool),
    entries: createEntries(spool),
    states: createStates(spool),
    eventLog: createEventLog(spool),
    ownership,
    newId: createIdMaker(() => clock.now()),
    config: live.current,
  };
}

function tenantPolicies(config: PodConfig): Map<string, { weight: number; held: boolean }> {
  return new Map(
    [...config.tenants].map(([id, { weight, state }]) => [id, { weight, held: state === "Hold" }]),
  );
}

function queuedHere(pod: Pod, tenant: string): number {
  const counts = pod.scheduler.counts().tenants.get(tenant);
  return counts === undefined ? 0 : counts.ready + counts.waiting + counts.suspended + counts.inflight;
}

function statusOf(pod: Pod, deliver: Deliver, live: LiveConfig): object {
  const { total } = pod.scheduler.counts();
  const { generation, digest, pool } = live.current().manifest;
  return {
    pool,
    pod: pod.name,
    incarnation: pod.incarnation,
    generation,
    digest,
    shards: pod.ownership.ownedShards(),
    members: pod.ownership.members().map((member) => member.pod),
    queued: total.ready + total.waiting + total.suspended + total.inflight,
    inFlight: deliver.running(),
  };
}

/** Resolves when `isDone`, or after `boundMs`: whichever comes first. */
async function settled(isDone: () => boolean, boundMs: number): Promise<void> {
  const until = performance.now() + boundMs;
  while (!isDone() && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, quiescePollMs));
  }
}
