/**
 * CORRIDOR: what a pod tells of itself: to the others with its heartbeat (what is open and under way) and when they ask (what is queued of a
 * tenant), and to the operator when asked.
 */
import { keysDigestOf } from "#crds/pod-config/keys-digest.ts";
import { type PodReport, reportQueryOf } from "#crds/wire/pod-report.ts";
import type { PodCount } from "./admit/queue-ledger.ts";
import type { Parents } from "./parents.ts";
import type { Pod } from "./pod.ts";
import type { Poison } from "./poison.ts";
import type { Shards } from "./shards.ts";
import type { StoredMarks } from "./stored-marks.ts";
import type { Transfers } from "./transfers.ts";

/** Of one pod to all; asks for a `PodCount`. */
export const queuedQuestion = "queued";

export interface PoolFacts {
  /** Of the tenant that was asked about. @throws Error when none was named */
  queued(query: unknown): PodCount;
  /** For the heartbeat. */
  payload(): Readonly<Record<string, unknown>>;
  /** For the operator; never throws, whatever was asked. */
  report(query: unknown): PodReport;
}

/** The payload is asked for more often than it is sent. */
const freshMs = 500;

export interface PoolFactsDeps {
  readonly pod: Pod;
  readonly told: Transfers["told"];
  readonly parents: Pick<Parents, "size" | "weightOf">;
  readonly poison: Pick<Poison, "list">;
  readonly shards: Pick<Shards, "indexedTo">;
  readonly marks: Pick<StoredMarks, "of">;
  /** Whether the newest configuration was refused. */
  refuses(): boolean;
}

export function createPoolFacts(deps: PoolFactsDeps): PoolFacts {
  const { pod, told, refuses } = deps;
  const busySince = createBusyMeter(pod);
  let last: Readonly<Record<string, unknown>> = {};
  let madeAt = Number.NEGATIVE_INFINITY;
  return {
    queued(query) {
      const { tenant } = (query ?? {}) as { tenant?: unknown };
      if (typeof tenant !== "string") throw new Error("Cannot count what is queued: expected a tenant");
      let parked = 0;
      for (const { envelope } of deps.poison.list()) if (envelope?.tenant === tenant) parked++;
      return {
        count: pod.scheduler.count({ tenant }) + deps.parents.weightOf(tenant) + parked,
        through: pod.ownership.ownedShards().flatMap((shard) => {
          const seq = deps.shards.indexedTo(shard);
          return seq === undefined ? [] : [[shard, seq] as const];
        }),
        marks: [...deps.marks.of(tenant)],
      };
    },
    payload() {
      const now = pod.clock.monotonic();
      if (now - madeAt >= freshMs) {
        madeAt = now;
        last = told();
      }
      return last;
    },
    report(query) {
      const { manifest, credentials, dkimKeys, proxyLogin } = pod.config();
      const { total } = pod.scheduler.counts();
      const unserved = pod.scheduler.unserved(pod.clock.now());
      const { tenants } = reportQueryOf(query);
      return {
        incarnation: pod.incarnation,
        generation: manifest.generation,
        digest: manifest.digest,
        keysDigest: keysDigestOf(credentials, dkimKeys, proxyLogin),
        shards: pod.ownership.ownedShards(),
        queued: total.ready + total.waiting + total.suspended + total.inflight + deps.parents.size(),
        oldestAt: total.oldest > 0 ? total.oldest : null,
        sendable: total.ready + total.inflight,
        backlog: { messages: unserved.entries, oldestAt: unserved.since > 0 ? unserved.since : null },
        busy: busySince(),
        refuses: refuses(),
        tenants: Object.fromEntries(tenants.map((tenant) => [tenant, pod.scheduler.count({ tenant })])),
      };
    },
  };
}

/** How busy the event loop is; over a second at least, however often it is asked. */
function createBusyMeter({ clock }: Pod): () => number {
  let before = performance.eventLoopUtilization();
  let measuredAt = clock.monotonic();
  let busy = 0;
  return () => {
    if (clock.monotonic() - measuredAt < 1000) return busy;
    busy = Math.min(1, Math.max(0, performance.eventLoopUtilization(before).utilization));
    before = performance.eventLoopUtilization();
    measuredAt = clock.monotonic();
    return busy;
  };
}

/** Somebody knows that an incarnation of a pod is dead: what it held is free. */
export function testify(pod: Pick<Pod, "ownership">, query: unknown): Promise<object> {
  const { pod: name, incarnation } = query as { pod?: unknown; incarnation?: unknown };
  if (typeof name !== "string" || typeof incarnation !== "string")
    throw new Error("Cannot take a witness's word: expected the names of a pod and an incarnation");
  return pod.ownership.freeDead(name, incarnation);
}
