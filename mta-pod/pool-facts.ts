/**
 * CORRIDOR: what each pod tells the others with its heartbeat (queued messages of tenants that have a limit on them, open
 * connections) and what comes of adding that up; and what it tells the operator when asked. Others' numbers are as old as
 * their last heartbeat.
 */
import { keysDigestOf } from "#crds/pod-config/keys-digest.ts";
import { type PodReport, reportQueryOf } from "#crds/wire/pod-report.ts";
import type { Transfers } from "./transfers.ts";
import type { Pod } from "./pod.ts";

export interface PoolFacts {
  /** Of the tenant in the whole pool; 0 when it has no limit, since nobody counts then. */
  queued(tenant: string): number;
  /** For the heartbeat. */
  payload(): Readonly<Record<string, unknown>>;
  /** For the operator; never throws, whatever was asked. */
  report(query: unknown): PodReport;
}

/** A heartbeat holds 64 KiB. */
const reportedTenants = 500;
/** The payload is asked for more often than it is sent. */
const freshMs = 500;

export interface PoolFactsDeps {
  readonly pod: Pod;
  readonly openConnections: Transfers["openConnections"];
  /** Whether the newest configuration was refused. */
  refuses(): boolean;
}

export function createPoolFacts({ pod, openConnections, refuses }: PoolFactsDeps): PoolFacts {
  const busySince = createBusyMeter(pod);
  let last: Readonly<Record<string, unknown>> = {};
  let madeAt = Number.NEGATIVE_INFINITY;
  const queuedHere = (): Record<string, number> => {
    const counts: [string, number][] = [];
    for (const [tenant, { limits }] of pod.config().tenants) {
      const count = limits.queuedMessages === undefined ? 0 : pod.scheduler.count({ tenant });
      if (count > 0) counts.push([tenant, count]);
    }
    return Object.fromEntries(counts.sort((a, b) => b[1] - a[1]).slice(0, reportedTenants));
  };
  return {
    queued(tenant) {
      if (pod.config().tenants.get(tenant)?.limits.queuedMessages === undefined) return 0;
      let sum = pod.scheduler.count({ tenant });
      for (const { isSelf, payload } of pod.ownership.members())
        if (!isSelf) sum += countIn(payload["queued"], tenant);
      return sum;
    },
    payload() {
      const now = pod.clock.monotonic();
      if (now - madeAt >= freshMs) {
        madeAt = now;
        last = { queued: queuedHere(), open: openConnections() };
      }
      return last;
    },
    report(query) {
      const { manifest, credentials, dkimKeys } = pod.config();
      const { total } = pod.scheduler.counts();
      const unserved = pod.scheduler.unserved(pod.clock.now());
      const { tenants } = reportQueryOf(query);
      return {
        incarnation: pod.incarnation,
        generation: manifest.generation,
        digest: manifest.digest,
        keysDigest: keysDigestOf(credentials, dkimKeys),
        shards: pod.ownership.ownedShards(),
        queued: total.ready + total.waiting + total.suspended + total.inflight,
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

function countIn(queued: unknown, tenant: string): number {
  if (typeof queued !== "object" || queued === null || !Object.hasOwn(queued, tenant)) return 0;
  const count = (queued as Record<string, unknown>)[tenant];
  return typeof count === "number" && count > 0 ? count : 0;
}
