/** What metrics read, of a pod where nothing happens; tests change what they are about. */
import type { MetricsSources } from "#mta-pod/telemetry/metrics.ts";

export const quietSources: MetricsSources = {
  clock: { now: () => 1_700_000_000_000, monotonic: () => 0 },
  queued: () => new Map(),
  connections: () => [],
  heldTimes: () => [],
  eventsDropped: () => 0,
  shardsOwned: () => 3,
  generation: () => 7,
  storeUsed: () => 0.25,
  unserved: () => 0,
};
