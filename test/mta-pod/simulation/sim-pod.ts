/**
 * One pod of the simulated pool: the real corridors and rooms, put together as `engine.ts` does, on a modelled connection to JetStream, modelled
 * connections to hosts, and virtual time. Only doors, DNS, sockets, signatures, metrics and reports are left out.
 */
import type { Rule } from "#crds/pod-config/schema.ts";
import { createAttempts } from "#mta-pod/attempt.ts";
import { createDeliver, type Deliver } from "#mta-pod/deliver.ts";
import { settled } from "#mta-pod/hand-over.ts";
import { HotBodies } from "#mta-pod/hot-bodies.ts";
import { createIntake, type Message } from "#mta-pod/intake.ts";
import { watchDeletes } from "#mta-pod/open-deletes.ts";
import { createOutbound } from "#mta-pod/outbound.ts";
import { createParents } from "#mta-pod/parents.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createPoison, type ParkedEntry } from "#mta-pod/poison.ts";
import { createSettled, RecentIds } from "#mta-pod/recent-ids.ts";
import { createRepeats } from "#mta-pod/repeats.ts";
import type { SiteRoute } from "#mta-pod/route/site.ts";
import { steadyClock } from "#mta-pod/runtime/clock.ts";
import { type Log, silentLog } from "#mta-pod/runtime/log.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";
import { createSettlement } from "#mta-pod/settlement.ts";
import { createShardChanges } from "#mta-pod/shard-changes.ts";
import { createShards } from "#mta-pod/shards.ts";
import { createSites } from "#mta-pod/sites.ts";
import { slicingOf } from "#mta-pod/slicing.ts";
import { createBundles } from "#mta-pod/spool/bundles.ts";
import { createEntries } from "#mta-pod/spool/entries.ts";
import type { HandOver } from "#mta-pod/spool/handover.ts";
import type { How } from "#mta-pod/spool/lease-state.ts";
import { createOwnership, type Ownership } from "#mta-pod/spool/ownership.ts";
import type { OwnershipTimes } from "#mta-pod/spool/ownership-times.ts";
import type { Peers } from "#mta-pod/spool/peers.ts";
import { createPublisher, type Stored } from "#mta-pod/spool/publisher.ts";
import { createSettledLog } from "#mta-pod/spool/settled-log.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import type { Target } from "#mta-pod/smtp/transaction.ts";
import type { Connection, ConnectionEvents } from "#mta-pod/smtp-out/connection.ts";
import { createTransfers } from "#mta-pod/transfers.ts";
import {
  answeringAtOnce,
  countedClosed,
  type Mutant,
  repeatsOf,
  withDotsAtOnce,
  withoutMoves,
} from "./mutants.ts";
import type { ReceivingHost } from "./receiving-hosts.ts";
import { connectInTurn } from "./in-turn.ts";
import { createSimSpool, type Network, type SimSpool } from "./sim-spool.ts";
import type { Process } from "./virtual-time.ts";

export interface SimPodOptions {
  readonly network: Network;
  readonly process: Process;
  readonly incarnation: string;
  readonly shards: number;
  readonly mutant: Mutant;
  readonly trace: ((what: string) => void) | undefined;
  /** Of the configuration that is mounted. */
  rules(): readonly Rule[];
  /** Where mail to the domain goes now. */
  routeOf(domain: string): SiteRoute;
  hostOf(site: string): ReceivingHost;
  ask(
    pod: string,
    kind: string,
    question: { readonly query: unknown; readonly timeoutMs: number },
  ): Promise<unknown>;
  onOwned(shard: number, how: How, from: HandOver | null): void;
}

export interface SimPod {
  readonly process: Process;
  readonly incarnation: string;
  readonly ownership: Ownership;
  readonly link: SimSpool;
  parked(): readonly ParkedEntry[];
  /** Parents that it is splitting. */
  splitting(): readonly { readonly shard: number; readonly seq: number }[];
  start(): void;
  /** Takes over the rules that are mounted now. */
  adopt(): void;
  /** SIGTERM; `ended` when the process would exit. */
  stop(ended: () => void): void;
  /** A client's message; `done` with what the pod would answer. */
  accept(message: Message, done: (stored: Stored) => void): void;
  answer(kind: string, query: unknown): Promise<object>;
}

const pool = "mail/simulated";
const stopGraceMs = 10_000;
/** Few, so that parents wait for each other. */
const splitAtOnce = { children: 3, bytes: 1e9 } as const;
const counter = { inc: () => {}, set: () => {}, observe: () => {} };

export function createSimPod(options: SimPodOptions): SimPod {
  const { network, process, incarnation, shards: shardCount, mutant, trace } = options;
  const { time, chance } = network;
  const machine = { now: () => time.wall(process), monotonic: () => time.monotonic(process) };
  const clock = steadyClock(machine);
  const say = (verb: string, fields?: object): void => trace?.(`${verb} ${JSON.stringify(fields ?? {})}`);
  const log: Log = trace === undefined ? silentLog : { debug: () => {}, info: say, warn: say, error: say };
  const link = createSimSpool({ network, process, clock, log, pool, incarnation, shards: shardCount });
  const { spool } = link;
  const sources = [{ name: "default", weight: 1 }];
  const scheduling = createScheduler({ random: chance, sources });
  const scheduler =
    mutant === "writes its dots whenever they are ready" ? withDotsAtOnce(scheduling) : scheduling;
  clock.onStep(scheduler.clockSet.bind(scheduler));
  const times: Partial<OwnershipTimes> = { tickMs: 1_000 };
  const bundles = createBundles();
  const recent = new RecentIds();
  const changes = createShardChanges(() => ({
    leaving,
    former: mutant === "ignores the former owner" ? { ...former, owned: () => undefined } : former,
    poison,
    shards,
    outbound,
  }));
  const ownership = createOwnership({
    spool,
    clock: machine,
    log,
    times: mutant === "takes over too early" ? { ...times, ttlMs: 4_000, memberTtlMs: 3_000 } : times,
    handlers: {
      ...changes,
      onOwned(shard, leaseSeq, handOver, how) {
        options.onOwned(shard, how, handOver);
        changes.onOwned(shard, leaseSeq, handOver, how);
      },
      quiesce: async (shard) => {
        const told = (await changes.quiesce?.(shard)) as object;
        return mutant === "tells its successor nothing" ? { ...told, inFlight: [], sites: [] } : told;
      },
    },
  });
  const entries = createEntries(spool, bundles);
  const deletes = watchDeletes(
    mutant === "deletes without looking"
      ? { ...entries, remove: ({ shard, seq }, done) => entries.remove({ shard, seq }, done) }
      : entries,
    clock,
  );
  const manifest = {
    pool,
    hostname: "out.example",
    retry: { firstMs: 3_000, maxMs: 10_000, maxAgeMs: 1e9 },
    rules: [],
    egress: { sources },
  };
  const metrics = new Proxy({}, { get: (_, name) => (String(name).endsWith("Label") ? () => "" : counter) });
  const settledLog = createSettledLog(spool, {
    heard: (one, two) => recent.heard(one, two, clock.monotonic()),
    heardOld: (one, two) => recent.heardOld(one, two),
  });
  const states = createStates(spool, (shard, leaseSeq) => ownership.fenced(shard, leaseSeq));
  const pod = {
    name: process.name,
    incarnation,
    clock,
    random: chance,
    log,
    metrics,
    router: {
      peek: (domain: string) => ({ kind: "site", site: options.routeOf(domain) }),
      route: async (domain: string) => ({ kind: "site", site: options.routeOf(domain) }),
      // The host's name is its site's.
      targets: async ({ id, hops }: SiteRoute) => ({
        kind: "targets",
        targets: hops.map(({ host, home }, at) => ({
          host: at === 0 ? id : host,
          address: "192.0.2.1",
          port: 25,
          ...(home === undefined || mutant === "asks nobody for hosts of others" ? {} : { home }),
        })),
      }),
    },
    scheduler,
    publisher: createPublisher(spool),
    entries: deletes.entries,
    states: mutant === "forgets where mail was going" ? withoutMoves(states) : states,
    deletes,
    eventLog: { append: () => {} },
    settledLog,
    settled: createSettled(recent, { settledLog, clock }),
    ownership,
    newId: () => "",
    config: () => ({ manifest }),
  } as unknown as Pod;
  const shards = createShards({
    spool,
    log,
    bundles,
    settledLog: pod.settledLog,
    deliver: (): Deliver => deliver,
    sizeOf: (shard) => scheduler.shardSize(shard) + parents.underWay(shard) + poison.sizeOf(shard),
    knows: (shard, seq) =>
      deliver.inFlight(shard).has(seq) ||
      scheduler.holds(shard, seq) ||
      parents.has(shard, seq) ||
      poison.has(shard, seq),
    damaged: () => {},
    epochLost: (shard, leaseSeq) => ownership.fenced(shard, leaseSeq),
    reset: (shard) => poison.reread(shard),
  });
  const { leaseSeqOf, owns, reindex, stored } = shards;
  const hot = new HotBodies({});
  const intake = createIntake({
    router: pod.router,
    publisher: pod.publisher,
    shards: shardCount,
    owns,
    enter: (_shard, next) => next(),
    stored,
  });
  const poison = createPoison({ pod, owns, leaseSeqOf, concurrencyOf: (site) => sites.concurrencyOf(site) });
  const settlement = createSettlement({
    pod,
    intake,
    owns,
    isLeaving: (shard) => leaving.isLeaving(shard),
    leaseSeqOf,
    isAwaited: (shard, seq) =>
      mutant !== "leaves to its successor what is left of an attempt" && leaving.isAwaited(shard, seq),
    isOthers: (shard, seq) => !former.mayBegin({ shard, seq }),
  });
  const agreed = slicingOf(pod, () => ({ sites, outbound, deliver }));
  const slicing = mutant === "goes by new slices at once" ? { ...agreed, isOpen: () => true } : agreed;
  const sites = createSites(pod, {
    shards: shardCount,
    wake: () => deliver.pump(),
    met: (site) => former.met(site),
    isAwaited: (shard, seq) => leaving.isAwaited(shard, seq),
    tenureOf: (shard) => former.tenureOf(shard),
    slicing,
    spent: (site, at) => former.spent(site, at),
  });
  const mayProceed = (shard: number): boolean =>
    mutant === "ignores its fence" ||
    (owns(shard) && !leaving.isFrozen(shard) && ownership.mayProceed(shard));
  const peers = { askPod: options.ask } as unknown as Peers;
  const way = { key: "", ehlo: "out.example", isSink: false };
  const outbound = createOutbound(
    pod,
    { wayOf: () => way },
    {
      wake: () => deliver.pump(),
      peers,
      shards: shardCount,
      slicing,
      connect({ targets, admit }, events) {
        const site = targets[0]?.host ?? "";
        const connect = (target: Target, to: ConnectionEvents): Connection =>
          options.hostOf(target.host).connect(process, to, site);
        return connectInTurn(targets, { connect, admit: admit ?? ((_, then) => then(true)) }, events);
      },
    },
  );
  const attempts = createAttempts({
    pod,
    outbound: mutant === "counts no connection that is closing" ? countedClosed(outbound) : outbound,
    sites,
    settlement,
    signers: () => ({ keysFor: () => [] }),
    sunk: () => {},
    mayProceed,
    freed: () => deliver.pump(),
    failed: (dispatch, loaded, trouble) => deliver.failed(dispatch, loaded, trouble),
  });
  const { publisher } = pod;
  const parents = createParents({
    pod:
      mutant === "deletes a parent before its children are stored"
        ? { ...pod, publisher: answeringAtOnce(publisher) }
        : pod,
    intake,
    shards: shardCount,
    leaseSeqOf,
    owns,
    stored,
    mayBegin: (at) => former.mayBegin(at) && former.askingMs(at.shard) === 0,
    isAwaited: (shard, seq) => leaving.isAwaited(shard, seq),
    atOnce: splitAtOnce,
    poison,
  });
  const deliver: Deliver = createDeliver({
    pod,
    mayBegin: (entry) => leaving.mayBegin(entry) && former.mayBegin(entry),
    askingMs: (shard) => former.askingMs(shard),
    holdMs: () => 0,
    admitted: (handle) => guests.admitted(handle),
    attempts:
      mutant === "deletes before the reply"
        ? {
            ...attempts,
            start(dispatch, loaded, ended) {
              const { shard, seq } = dispatch.entry;
              pod.entries.remove({ shard, seq, entry: loaded.envelope, subject: loaded.subject }, () => {});
              attempts.start(dispatch, loaded, ended);
            },
          }
        : attempts,
    sites,
    settlement,
    poison,
    repeats: repeatsOf(mutant, createRepeats(pod)),
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
  slicing.adopt(options.rules());
  ownership.setHeartbeatPayload(transfers.told);
  scheduler.setTenants(new Map([["mail/acme", { weight: 1, held: false }]]), clock.now());

  return {
    process,
    incarnation,
    ownership,
    link,
    parked: () => [...poison.list()],
    splitting: () =>
      Array.from({ length: shardCount }, (_, shard) =>
        parents.sequences(shard).map((seq) => ({ shard, seq })),
      ).flat(),
    start: () => void ownership.start(),
    adopt() {
      slicing.adopt(options.rules());
      sites.refresh();
      deliver.pump();
    },
    stop(ended) {
      void (async () => {
        await ownership.release();
        deliver.stop();
        await settled(() => deliver.running() + parents.size() === 0, stopGraceMs);
        outbound.destroyAll();
        transfers.stop();
        slicing.stop();
        await settled(() => pod.entries.removing() === 0, 5_000);
        await pod.publisher.close();
        await pod.settledLog.close();
        pod.entries.close();
        pod.states.close();
        await ownership.close();
        ended();
      })();
    },
    accept: (message, done) => intake.put(message, done),
    answer: transfers.answer,
  };
}
