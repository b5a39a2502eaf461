/** Pods of one pool inside a test: a connection and an ownership each, what they were told, and ways to lose them. */
import { systemClock } from "#mta-pod/runtime/clock.ts";
import type { Clock } from "#mta-pod/runtime/clock.ts";
import type { HandOver } from "#mta-pod/spool/handover.ts";
import type { How } from "#mta-pod/spool/lease-state.ts";
import { createOwnership, type Ownership } from "#mta-pod/spool/ownership.ts";
import type { OwnershipTimes } from "#mta-pod/spool/ownership-times.ts";
import { systemTimers, type Timers } from "#mta-pod/spool/timers.ts";
import { startTestSpool, type TestSpool } from "#test/kit/spool.ts";

/** A tenth of the real ones, but for the leases, whose tests say what they need. */
export const quickTimes = {
  ttlMs: 60_000,
  fenceMs: 48_000,
  renewEveryMs: 200,
  heartbeatMs: 200,
  memberTtlMs: 60_000,
  startSettleMs: 300,
  aloneSettleMs: 100,
  rebalanceSettleMs: 100,
  quiesceMs: 3_000,
  tellMs: 1_000,
  tickMs: 25,
} satisfies OwnershipTimes;

export interface Told {
  readonly pod: string;
  readonly what: "owned" | "lost";
  readonly shard: number;
  /** How it was won, or why it was lost. */
  readonly why: string;
  readonly leaseSeq: number;
  readonly handOver: HandOver | null;
}

export interface PodOptions {
  readonly pool: string;
  readonly pod: string;
  readonly incarnation?: string;
  readonly shards?: number;
  readonly times?: Partial<OwnershipTimes>;
  readonly clock?: Clock;
  readonly maxBytesPerShard?: number;
  readonly quiesce?: (shard: number) => Promise<unknown>;
}

export interface TestPod {
  readonly name: string;
  readonly spool: TestSpool;
  readonly ownership: Ownership;
  /** As kill -9: nothing is said, nothing runs any more. */
  kill(): Promise<void>;
  end(): Promise<void>;
}

/** All pods of one test, and everything they were told in order. */
export class Pods implements AsyncDisposable {
  readonly told: Told[] = [];
  /** Moments at which a shard was given to a pod while another could still have gone on. */
  readonly overlaps: string[] = [];
  readonly #url: string;
  readonly #pods: TestPod[] = [];

  constructor(url: string) {
    this.#url = url;
  }

  async start(options: PodOptions): Promise<TestPod> {
    const pod = await this.#open(options);
    await pod.ownership.start();
    return pod;
  }

  of(shard: number): TestPod[] {
    return this.#pods.filter(({ ownership }) => ownership.mayProceed(shard));
  }

  /** Every shard has an owner, and no shard two. */
  areShared(shards: number): boolean {
    return Array.from({ length: shards }, (_, shard) => this.of(shard).length).every((count) => count === 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#pods.map((pod) => pod.end()));
  }

  async #open(options: PodOptions): Promise<TestPod> {
    const { pool, pod: name, incarnation = "1", shards = 8, clock = systemClock, quiesce } = options;
    const { timers, stop } = stoppable();
    const { maxBytesPerShard = 20_000_000 } = options;
    const spool = await startTestSpool(this.#url, {
      pool,
      pod: name,
      incarnation,
      shards,
      clock,
      timers,
      maxBytesPerShard,
    });
    const tell = (what: "owned" | "lost", shard: number, rest: Partial<Told>): void => {
      this.told.push({ pod: name, what, shard, why: "", leaseSeq: 0, handOver: null, ...rest });
    };
    const ownership = createOwnership({
      spool,
      clock,
      log: spool.options.log,
      times: { ...quickTimes, ...options.times },
      handlers: {
        onOwned: (shard, leaseSeq, handOver, how: How) => {
          const others = this.of(shard).filter((other) => other.ownership !== ownership);
          if (others.length > 0) this.overlaps.push(`${shard}: ${name} and ${others[0]?.name}`);
          tell("owned", shard, { why: how, leaseSeq, handOver });
        },
        onLost: (shard, why) => tell("lost", shard, { why }),
        ...(quiesce === undefined ? {} : { quiesce }),
      },
    });
    let isEnded = false;
    const pod: TestPod = {
      name,
      spool,
      ownership,
      kill: async () => {
        isEnded = true;
        this.#pods.splice(this.#pods.indexOf(pod), 1);
        stop();
        await spool.nc.close();
      },
      end: async () => {
        if (isEnded) return;
        isEnded = true;
        await ownership.close();
        await spool.close();
      },
    };
    this.#pods.push(pod);
    return pod;
  }
}

/** Timers of which none runs any more after `stop`. */
function stoppable(): { timers: Timers; stop: () => void } {
  const running = new Set<() => void>();
  const keep = (cancel: () => void): (() => void) => {
    running.add(cancel);
    return () => {
      running.delete(cancel);
      cancel();
    };
  };
  return {
    timers: {
      after: (ms, run) => keep(systemTimers.after(ms, run)),
      every: (ms, run) => keep(systemTimers.every(ms, run)),
    },
    stop: () => {
      for (const cancel of running) cancel();
    },
  };
}
