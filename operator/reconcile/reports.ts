/**
 * What the pods of each pool say of themselves, asked again and again: every 5 s, and many times a second while a new
 * configuration is on its way. What was last said stays when nobody answers. Never throws.
 */
import type { PodReport } from "#crds/wire/pod-report.ts";
import type { Clock } from "#operator/kube/types.ts";
import type { PoolQueue } from "#operator/streams/pool-queue.ts";

export interface Told {
  readonly report: PodReport;
  /** By the monotonic clock. */
  readonly at: number;
}

interface Waiting {
  readonly why: string;
  /** By the monotonic clock. */
  readonly at: number;
}

export interface PoolReports {
  /** By pod; those that are gone are left out. */
  readonly told: ReadonlyMap<string, Told>;
  /** Why pods cannot begin, by pod: those that said so lately. */
  readonly waiting: ReadonlyMap<string, Waiting>;
  /** Why the pods cannot be asked; undefined = they can, or nobody tried yet. */
  readonly trouble: string | undefined;
  readonly wasAsked: boolean;
}

export interface Reports {
  of(pool: string): PoolReports;
  /** Begins to ask, or goes on with other settings. */
  follow(pool: string, asked: Asked): void;
  /** A new configuration is on its way: ask more often for a while. */
  hurry(pool: string): void;
  forget(pool: string): void;
  stop(): void;
}

interface Asked {
  readonly queue: PoolQueue;
  /** The ready pods by name: whose answers are waited for. */
  readonly pods: () => ReadonlySet<string>;
  /** Whether all of them run what they should. */
  readonly isSettled: () => boolean;
}

export interface ReportsOptions {
  readonly clock: Clock;
  onReport(pool: string): void;
}

interface Followed {
  asked: Asked;
  told: Map<string, Told>;
  waiting: Map<string, Waiting>;
  trouble: string | undefined;
  wasAsked: boolean;
  hurriedAt: number;
  cancel: () => void;
  isAsking: boolean;
}

const askMs = 1000;
const settledMs = 5000;
const unsettledMs = 2000;
/** How often, as long as the hurry is not older than this. */
const hurries = [
  { forMs: 4000, everyMs: 200 },
  { forMs: 15_000, everyMs: 500 },
] as const;
/** Between two tries a pod that waits may be silent for a while. */
const waitingMs = 15_000;
const nobody: PoolReports = {
  told: new Map(),
  waiting: new Map(),
  trouble: undefined,
  wasAsked: false,
};

export function createReports({ clock, onReport }: ReportsOptions): Reports {
  const pools = new Map<string, Followed>();

  const pauseOf = (followed: Followed): number => {
    if (followed.asked.isSettled()) return settledMs;
    const since = clock.monotonic() - followed.hurriedAt;
    return hurries.find(({ forMs }) => since < forMs)?.everyMs ?? unsettledMs;
  };

  const ask = async (pool: string, followed: Followed): Promise<void> => {
    followed.isAsking = true;
    const pods = new Set([...followed.asked.pods(), ...followed.waiting.keys()]);
    const answer = await followed.asked.queue.report({ pods, tenants: [], timeoutMs: askMs });
    followed.isAsking = false;
    if (pools.get(pool) !== followed) return;
    followed.wasAsked = true;
    if (answer.kind === "away") followed.trouble = answer.text;
    else {
      followed.trouble = undefined;
      const at = clock.monotonic();
      for (const [pod, report] of answer.reports) followed.told.set(pod, { report, at });
      const here = followed.asked.pods();
      for (const pod of followed.told.keys()) if (!here.has(pod)) followed.told.delete(pod);
      for (const [pod, why] of answer.waiting) followed.waiting.set(pod, { why, at });
      for (const [pod, one] of followed.waiting)
        if (here.has(pod) || at - one.at > waitingMs) followed.waiting.delete(pod);
    }
    onReport(pool);
    plan(pool, followed);
  };

  const plan = (pool: string, followed: Followed): void => {
    followed.cancel();
    followed.cancel = clock.after(pauseOf(followed), () => void ask(pool, followed));
  };

  return {
    of: (pool) => pools.get(pool) ?? nobody,
    follow(pool, asked) {
      const known = pools.get(pool);
      if (known !== undefined) {
        known.asked = asked;
        return;
      }
      const followed: Followed = {
        asked,
        told: new Map(),
        waiting: new Map(),
        trouble: undefined,
        wasAsked: false,
        hurriedAt: clock.monotonic(),
        cancel: () => {},
        isAsking: false,
      };
      pools.set(pool, followed);
      void ask(pool, followed);
    },
    hurry(pool) {
      const followed = pools.get(pool);
      if (followed === undefined) return;
      followed.hurriedAt = clock.monotonic();
      if (!followed.isAsking) plan(pool, followed);
    },
    forget(pool) {
      pools.get(pool)?.cancel();
      pools.delete(pool);
    },
    stop() {
      for (const { cancel } of pools.values()) cancel();
      pools.clear();
    },
  };
}
