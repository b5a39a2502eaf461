/** Puts the corridors of one pod on top of its rooms and ties their knots; starts and stops them in order. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { reportQuestion, witnessQuestion } from "#crds/wire/pod-report.ts";
import { createActs } from "./acts.ts";
import { createAdmission } from "./admit/admission.ts";
import { createAttempts } from "./attempt.ts";
import { createDeliver, type Deliver } from "./deliver.ts";
import { createEgress } from "./egress.ts";
import { createExplain } from "./explain.ts";
import { HotBodies } from "./hot-bodies.ts";
import { createIntake } from "./intake.ts";
import { settled } from "./hand-over.ts";
import { createOutbound } from "./outbound.ts";
import { createMessageHolds } from "./message-holds.ts";
import { createParkedActs } from "./parked-acts.ts";
import { createPoison } from "./poison.ts";
import { createParents } from "./parents.ts";
import { createPacing } from "./pacing.ts";
import { createPoolFacts, queuedQuestion, testify } from "./pool-facts.ts";
import { createPoolQueueLimits } from "./pool-queue-limits.ts";
import { createPurging } from "./purging.ts";
import { createReceive } from "./receive.ts";
import { RecentIds } from "./recent-ids.ts";
import { createRepeats } from "./repeats.ts";
import { buildRooms, type EngineParts } from "./rooms.ts";
import { createSettlement } from "./settlement.ts";
import { createShardChanges } from "./shard-changes.ts";
import { createShards } from "./shards.ts";
import { createSigners } from "./signers.ts";
import { createSites } from "./sites.ts";
import { slicingOf } from "./slicing.ts";
import { createBundles } from "./spool/bundles.ts";
import { createPurges } from "./spool/purges.ts";
import { createSunkStore } from "./spool/sunk.ts";
import { createPeers } from "./spool/peers.ts";
import { createPressure } from "./spool/pressure.ts";
import { createLoopWatch } from "./runtime/loop-watch.ts";
import { createCells } from "./spool/cells.ts";
import { createQuotas } from "./spool/quota.ts";
import { createStoredMarks } from "./stored-marks.ts";
import { createTenantRates } from "./tenant-rates.ts";
import { statusOf } from "./status.ts";
import { createSuspending } from "./suspend.ts";
import { createTransfers } from "./transfers.ts";
import { createUnsplitActs } from "./unsplit-acts.ts";

/** Deletions that are under way at the end get so long. */
const handOverMs = 5000;

/** Rooms first, then the corridors on top of them; the three knots (owner ↔ index ↔ attempts) are tied by functions. */
export function buildEngine({ options, log, clock, incarnation, live, spool }: EngineParts) {
  const { shards: shardCount } = spool.options;
  const bundles = createBundles();
  const recent = new RecentIds();
  const marks = createStoredMarks(live.current, clock);
  const pod = buildRooms(
    { options, log, clock, incarnation, live, spool, bundles, recent, marks },
    createShardChanges(() => ({ leaving, former, poison, shards, outbound })),
    (site) => sites.providerOf(site),
  );
  let admission = createAdmission(live.current());
  let signers = createSigners(live.current(), log);
  let isRefused = false;
  const shards = createShards({
    spool,
    log,
    bundles,
    settledLog: pod.settledLog,
    deliver: (): Deliver => deliver,
    sizeOf: (shard) => pod.scheduler.shardSize(shard) + parents.underWay(shard) + poison.sizeOf(shard),
    knows: (shard, seq) =>
      deliver.inFlight(shard).has(seq) ||
      pod.scheduler.holds(shard, seq) ||
      parents.has(shard, seq) ||
      poison.has(shard, seq),
    damaged: (shard, seq, what) => poison.keep({ shard, seq, ...what, envelope: undefined }),
    epochLost: (shard, leaseSeq) => pod.ownership.fenced(shard, leaseSeq),
    reset: (shard) => poison.reread(shard),
  });
  const { leaseSeqOf, owns, stored, reindex, isIndexed, changes } = shards;
  const { router, publisher } = pod;
  const pacing = createPacing({
    clock,
    pressure: createPressure(spool),
    ownedShards: () => pod.ownership.ownedShards(),
    fill: () => hot.share,
    utilization: createLoopWatch(),
  });
  const { enter } = pacing;
  const hot = new HotBodies({
    kept: pacing.filled,
    full: () => shards.wantBodies(false),
    roomy: () => shards.wantBodies(true),
  });
  const intake = createIntake({ router, publisher, shards: shardCount, owns, enter, stored });
  const poison = createPoison({ pod, owns, leaseSeqOf, concurrencyOf: (site) => sites.concurrencyOf(site) });
  const settlement = createSettlement({
    pod,
    intake,
    owns,
    isLeaving: (shard) => leaving.isLeaving(shard),
    leaseSeqOf,
    isAwaited: (shard, seq) => leaving.isAwaited(shard, seq),
    isOthers: (shard, seq) => !former.mayBegin({ shard, seq }),
  });
  const wake = (): void => deliver.pump();
  const slicing = slicingOf(pod, () => ({ sites, outbound, deliver }));
  const sites = createSites(pod, {
    shards: shardCount,
    wake,
    met: (site) => former.met(site),
    isAwaited: (shard, seq) => leaving.isAwaited(shard, seq),
    tenureOf: (shard) => former.tenureOf(shard),
    slicing,
    spent: (site, at) => former.spent(site, at),
  });
  const egress = createEgress({
    log,
    setSources: (sources) => {
      pod.scheduler.setSources(sources, clock.now());
      deliver.pump();
    },
    changed: () => outbound.closeAllIdle(),
    // Others may have an address: the shards go to them in order, and whoever starts this pod again finds it waiting.
    lost: () => void process.kill(process.pid, "SIGTERM"),
  });
  const peers = createPeers({ spool, members: () => pod.ownership.members() });
  const outbound = createOutbound(pod, egress, { wake, peers, shards: shardCount, slicing });
  const mayProceed = (shard: number) =>
    owns(shard) && !leaving.isFrozen(shard) && pod.ownership.mayProceed(shard);
  const sunk = createSunkStore(spool);
  const attempts = createAttempts({
    pod,
    outbound,
    sites,
    settlement,
    signers: () => signers,
    sunk: ({ id, tenant, from, to, site }, source, pieces) => {
      const ehlo = egress.wayOf(source)?.ehlo ?? "";
      sunk.put({ id, at: clock.now(), tenant, from, to: [...to], site, source, ehlo }, pieces);
    },
    mayProceed,
    freed: wake,
    failed: (dispatch, loaded, trouble) => deliver.failed(dispatch, loaded, trouble),
  });
  const parents = createParents({
    pod,
    intake,
    shards: shardCount,
    leaseSeqOf,
    owns,
    stored,
    mayBegin: (at) => former.mayBegin(at) && former.askingMs(at.shard) === 0,
    isAwaited: (shard, seq) => leaving.isAwaited(shard, seq),
    poison,
  });
  const holds = createMessageHolds(pod, wake);
  const deliver = createDeliver({
    pod,
    mayBegin: (entry) => leaving.mayBegin(entry) && former.mayBegin(entry),
    askingMs: (shard) => former.askingMs(shard),
    holdMs: holds.holdMs,
    admitted: (handle) => guests.admitted(handle),
    attempts,
    sites,
    settlement,
    poison,
    repeats: createRepeats(pod),
    parents,
    leaseSeqOf,
    hot,
    reindex,
  });
  const transfers = createTransfers({
    pod,
    shardCount,
    peers,
    deliver,
    parents,
    poison,
    shards,
    outbound,
    slicing,
  });
  const { leaving, former, guests } = transfers;
  const facts = createPoolFacts({
    pod,
    told: transfers.told,
    refuses: () => isRefused,
    parents,
    poison,
    shards,
    marks,
  });
  pod.ownership.setHeartbeatPayload(facts.payload);
  const parked = createParkedActs({ pod, poison, deliver: () => deliver, leaseSeqOf });
  const purging = createPurging({ pod, hot, purges: createPurges(spool, bundles) });
  const unsplit = createUnsplitActs({ pod, parents, settlement });
  const acts = createActs({ pod, peers, deliver, parked, unsplit, purging, isIndexed, changes });
  const suspending = createSuspending({ pod, spool, peers, holds, pump: wake });
  const explain = createExplain({
    pod,
    peers,
    acts,
    parked,
    unsplit,
    suspending,
    troubleOf: sites.troubleOf,
    answer: async (kind, query) => {
      if (kind === reportQuestion) return facts.report(query);
      if (kind === queuedQuestion) return facts.queued(query);
      if (kind === witnessQuestion) return testify(pod, query);
      return transfers.answer(kind, query);
    },
  });
  const adopt = (config: PodConfig): void => {
    admission = createAdmission(config);
    signers = createSigners(config, log);
    pod.router.configure(config.manifest.rules, config.manifest.egress.allowDestinations);
    pod.scheduler.setTenants(tenantPolicies(config), clock.now());
    egress.adopt(config);
    slicing.adopt(config.manifest.rules);
    sites.refresh();
    deliver.pump();
  };
  adopt(live.current());
  live.onChange((config) => {
    isRefused = false;
    adopt(config);
  });
  live.onRefused(() => {
    isRefused = true;
    pod.metrics.configErrors.inc({});
  });
  const quotas = createQuotas({ spool, pods: () => pod.ownership.members().length });
  const cells = createCells(spool);
  const queueLimits = createPoolQueueLimits({ pod, spool, peers, cells, marks });
  const receive = createReceive({
    pod,
    intake,
    quotas,
    rates: createTenantRates({ cells, clock }),
    queueLimits,
    admission: () => admission,
  });
  return {
    pod,
    receive,
    explain,
    sunk: { list: sunk.list, find: sunk.find },
    admission: () => admission,
    status: () => statusOf({ pod, deliver, parents, poison }),
    /** Resolves when there is a source to send from, in mode HostNetwork perhaps never. Rejects when `signal` aborts. */
    canSend: (signal: AbortSignal) => egress.ready(signal),
    async start() {
      // What is suspended must be known before the first shard is: its mail would leave otherwise.
      await suspending.start();
      await pod.ownership.start();
    },
    async stop(graceMs: number) {
      pacing.stop();
      // Others go on with the shards while what is after its dot here gets the grace time.
      await pod.ownership.release();
      deliver.stop();
      egress.stop();
      await settled(() => deliver.running() + parents.size() === 0, graceMs);
      outbound.destroyAll();
      transfers.stop();
      slicing.stop();
      explain.stop();
      peers.close();
      await settled(() => pod.entries.removing() === 0, handOverMs);
      await pod.publisher.close();
      await Promise.all([quotas.close(), queueLimits.close()]);
      await pod.eventLog.close();
      await pod.settledLog.close();
      sunk.close();
      pod.entries.close();
      pod.states.close();
      await pod.ownership.close();
    },
  };
}

function tenantPolicies(config: PodConfig): Map<string, { weight: number; held: boolean }> {
  return new Map(
    [...config.tenants].map(([id, { weight, state }]) => [id, { weight, held: state === "Hold" }]),
  );
}
