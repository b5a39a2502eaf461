/**
 * Which shards this pod owns (design.md §4): heartbeats, the live pods, and a lease per shard, brought together. Wins what
 * rendezvous hashing gives it, hands over what it gives others, stops at the fence. Never throws; while NATS is away
 * it goes on until the fence and claims again afterwards.
 */
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { Log } from "#mta-pod/runtime/log.ts";
import { type KeyEvent, openBucket, shardOfKey } from "./bucket.ts";
import type { Spool } from "./connection.ts";
import type { Feed } from "./feed.ts";
import { boundedHandOver, handOverOf } from "./handover.ts";
import { createDivision } from "./division.ts";
import { createHeartbeat } from "./heartbeat.ts";
import { decodeMember, type Identity, isSame, type MemberState } from "./lease-record.ts";
import type { LostReason } from "./lease-state.ts";
import { createLeases, keyContent, type Leases } from "./leases.ts";
import { createMemberTable, type Member, type MemberTable } from "./members.ts";
import type { OwnershipHandlers } from "./ownership-handlers.ts";
import { type OwnershipTimes, ownershipTimes } from "./ownership-times.ts";
import { type Freed, freeDead } from "./witness.ts";

export interface OwnershipOptions {
  readonly spool: Spool;
  /** The machine's own clocks: a smoothed wall clock would hide that the machine slept. */
  readonly clock: Clock;
  readonly log: Log;
  readonly handlers: OwnershipHandlers;
  readonly times?: Partial<OwnershipTimes>;
}

export interface Ownership {
  /** Resolves when the pool's leases and members are known; the first claims follow. */
  start(): Promise<void>;
  /** The fence: true only while the shard is owned beyond doubt. Synchronous, two clock readings. */
  mayProceed(shard: number): boolean;
  owns(shard: number): boolean;
  ownedShards(): number[];
  /** Whose lease it is, by the last that was seen of it. */
  ownerOf(shard: number): string | undefined;
  /** The live pods, this one included. */
  members(): readonly Member[];
  /** What is known of pods that may have ended. */
  readonly ended: Pick<MemberTable, "isDead" | "lastPayload" | "perhapsAlive">;
  /** What every heartbeat tells the other pods besides identity; at most 64 KiB of JSON. */
  setHeartbeatPayload(payload: () => Readonly<Record<string, unknown>>): void;
  /** A heartbeat now; resolves to whether it is written. */
  tell(): Promise<boolean>;
  /** A write under this epoch was refused: drops the shard, and takes it again if the lease is still ours. An epoch of before says nothing. */
  fenced(shard: number, leaseSeq: number): void;
  /** Somebody knows that this incarnation of a pod is dead. */
  freeDead(pod: string, incarnation: string): Promise<Freed>;
  /** Hands everything over; resolves when all is released, lost, or the time for it is over. Heartbeats go on. */
  release(): Promise<void>;
  /** The end: tells the others that nothing of this process is left. After it nothing is owned. */
  close(): Promise<void>;
}

export function createOwnership(options: OwnershipOptions): Ownership {
  return new Driver(options);
}

class Driver implements Ownership {
  readonly ended: MemberTable;
  readonly #options: OwnershipOptions;
  readonly #times: OwnershipTimes;
  readonly #self: Identity;
  readonly #shards: readonly number[];
  readonly #leases: Leases;
  readonly #bucket;
  readonly #heartbeat;
  readonly #stops: (() => void)[] = [];
  /** Shards being handed over, and why. */
  readonly #handing = new Map<number, "rebalance" | "released">();
  /** Holders in the first picture that were an earlier start of this pod. */
  readonly #former = new Map<number, Identity>();
  readonly #waiting = new Set<() => void>();
  #payload: () => Readonly<Record<string, unknown>> = () => ({});
  #feed: Feed | undefined;
  #state: MemberState = "joining";
  #knownSince: number | undefined;
  readonly #division;

  constructor(options: OwnershipOptions) {
    const { spool, clock, log } = options;
    const self: Identity = { pod: spool.options.pod, incarnation: spool.options.incarnation };
    this.#options = options;
    this.#times = { ...ownershipTimes, ...options.times };
    this.#self = self;
    this.#shards = Array.from({ length: spool.options.shards }, (_, shard) => shard);
    this.#bucket = openBucket(spool);
    this.#heartbeat = createHeartbeat({ bucket: this.#bucket, self, startedAt: clock.now(), log });
    this.#division = createDivision(spool.options.shards);
    this.ended = createMemberTable(this.#self, this.#times.memberTtlMs);
    this.#leases = createLeases({
      spool,
      bucket: this.#bucket,
      clock,
      times: this.#times,
      self: this.#self,
      onOwned: (shard, leaseSeq, { how, from }) => {
        log.info("shard owned", { shard, how, leaseSeq, from: from?.pod });
        options.handlers.onOwned(shard, leaseSeq, handOverOf(from), how);
        // Claimed before the order to leave, and won after it.
        if (this.#state === "leaving") void this.#handOver(shard, "released");
      },
      onLost: (shard, reason) => this.#lost(shard, reason),
      onStep: () => {
        for (const look of this.#waiting) look();
      },
    });
  }

  start(): Promise<void> {
    const { spool, clock } = this.#options;
    return new Promise((resolve) => {
      this.#feed = this.#bucket.watch(
        (event) => this.#onKey(event),
        () => {
          if (this.#knownSince !== undefined) return;
          this.#known(clock.monotonic());
          resolve();
        },
      );
      this.#stops.push(
        () => this.#feed?.close(),
        spool.timers.every(this.#times.heartbeatMs, () => void this.tell()),
        spool.timers.every(this.#times.tickMs, () => this.#tick()),
        spool.onReconnect(() => void this.tell()),
      );
      spool.closing.addEventListener("abort", () => this.#stop(), { once: true });
      void this.tell();
    });
  }

  mayProceed(shard: number): boolean {
    return this.#leases.isOwner(shard);
  }

  owns(shard: number): boolean {
    return this.#leases.isTold(shard);
  }

  ownedShards(): number[] {
    return this.#shards.filter((shard) => this.owns(shard));
  }

  ownerOf(shard: number): string | undefined {
    const record = this.#leases.state(shard).seen?.record;
    return typeof record === "object" && record.state === "held" ? record.pod : undefined;
  }

  tell(): Promise<boolean> {
    return this.#heartbeat.beat(this.#state, this.#payload());
  }

  members(): readonly Member[] {
    const state = this.#state;
    const own = { ...this.#self, startedAt: this.#heartbeat.startedAt, payload: this.#payload() };
    const self: Member[] = state === "gone" ? [] : [{ ...own, state, isSelf: true }];
    return [...self, ...this.ended.others(this.#options.clock.monotonic())];
  }

  setHeartbeatPayload(payload: () => Readonly<Record<string, unknown>>): void {
    this.#payload = payload;
  }

  fenced(shard: number, leaseSeq: number): void {
    if (this.#leaseSeq(shard) === leaseSeq) this.#leases.input(shard, { kind: "epoch-lost" });
  }

  freeDead(pod: string, incarnation: string): Promise<Freed> {
    return freeDead(this.#options.spool, { pod, incarnation });
  }

  async release(): Promise<void> {
    this.#state = "leaving";
    // The others take over at once what they see released, so they must first see that it is not ours any more.
    await Promise.race([this.tell(), this.#after(this.#times.tellMs)]);
    for (const shard of this.ownedShards()) void this.#handOver(shard, "released");
    const isDone = (): boolean =>
      this.#shards.every((shard) => this.#leases.state(shard).phase.kind === "outside");
    await Promise.race([this.#until(isDone), this.#after(this.#times.quiesceMs + this.#times.tellMs)]);
  }

  async close(): Promise<void> {
    const wasKnown = this.#knownSince !== undefined;
    this.#state = "gone";
    this.#stop();
    for (const shard of this.ownedShards()) this.#lost(shard, "released");
    this.#leases.stop();
    if (wasKnown) await Promise.race([this.tell(), this.#after(this.#times.tellMs)]);
  }

  #stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #after(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.spool.timers.after(ms, resolve));
  }

  /** Resolves when `isDone`, which is asked after every step of a lease. */
  #until(isDone: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isDone()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  #onKey({ key, revision, text }: KeyEvent): void {
    const mono = this.#options.clock.monotonic();
    const isNews = this.#knownSince !== undefined;
    if (key.startsWith("pod.")) {
      const record = text === undefined ? undefined : decodeMember(text);
      this.ended.observe(key, revision, { record, mono, isNews });
      if (isNews && record?.state !== "live") this.#tick();
      return;
    }
    const shard = shardOfKey(key);
    if (shard === undefined) return;
    const record = keyContent(text);
    if (!isNews && typeof record === "object" && record.pod === this.#self.pod)
      if (!isSame(record, this.#self)) this.#former.set(shard, record);
    this.#leases.input(shard, { kind: "seen", revision, record });
    // Whoever waits for a released shard takes it at once.
    if (isNews && typeof record === "object" && record.state !== "held") this.#tickShard(shard);
  }

  #known(mono: number): void {
    this.#knownSince = mono;
    for (const shard of this.#shards)
      if (this.#leases.state(shard).seen === undefined)
        this.#leases.input(shard, { kind: "seen", revision: 0, record: "absent" });
    this.#tick();
  }

  #tick(): void {
    const mono = this.#options.clock.monotonic();
    const settleMs = this.ended.isComplete() ? this.#times.aloneSettleMs : this.#times.startSettleMs;
    const isSettled = this.#knownSince !== undefined && mono - this.#knownSince >= settleMs;
    if (isSettled && this.#state === "joining") {
      this.#state = "live";
      void this.tell();
    }
    this.#division.update(this.members(), mono);
    for (const shard of this.#shards) this.#tickShard(shard);
    if (this.#state === "live" && mono - this.#division.since() >= this.#times.rebalanceSettleMs)
      this.#rebalance();
  }

  #tickShard(shard: number): void {
    const wanted = this.#state === "live" && this.#division.ownerOf(shard) === this.#self.pod;
    const former = this.#state === "leaving" ? undefined : this.#former.get(shard);
    this.#leases.input(shard, { kind: "tick", wanted, former });
    // Won after the order to leave: nobody was told, so nothing has to be quiesced.
    if (this.#state === "leaving" && !this.owns(shard))
      this.#leases.input(shard, { kind: "release", handOver: undefined });
  }

  #rebalance(): void {
    for (const shard of this.ownedShards())
      if (this.#division.successorOf(shard, this.#self.pod) !== undefined)
        void this.#handOver(shard, "rebalance");
  }

  async #handOver(shard: number, why: "rebalance" | "released"): Promise<void> {
    if (this.#handing.has(shard)) return void this.#handing.set(shard, why);
    this.#handing.set(shard, why);
    const { handlers, log, spool } = this.#options;
    const leaseSeq = this.#leaseSeq(shard);
    const waited = boundedHandOver(handlers.quiesce?.(shard), { spool, ms: this.#times.quiesceMs });
    const handOver = await waited.catch((error: unknown) => {
      log.error("quiesce failed", { shard, error: String(error) });
      return undefined;
    });
    // Lost and won again meanwhile: what was said is about the ownership before.
    if (this.#leaseSeq(shard) === leaseSeq) this.#leases.input(shard, { kind: "release", handOver });
  }

  #leaseSeq(shard: number): number | undefined {
    const { phase } = this.#leases.state(shard);
    return phase.kind === "holding" && phase.epoch.kind === "published" ? phase.epoch.seq : undefined;
  }

  #lost(shard: number, reason: LostReason): void {
    const why = reason === "released" ? (this.#handing.get(shard) ?? reason) : reason;
    this.#handing.delete(shard);
    this.#options.log.info("shard given up", { shard, reason: why });
    this.#options.handlers.onLost(shard, why);
  }
}
