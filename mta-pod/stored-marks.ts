/**
 * CORRIDOR: of tenants with a limit of queued messages, the last sequence that this pod stored in each shard, for whatever reason
 * (mail, children, moves, reports): a count that has not come that far lacks something. Costs the others one look-up. Never fails.
 */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { Clock } from "./runtime/clock.ts";
import type { Publisher } from "./spool/publisher.ts";

export interface StoredMarks {
  /** The same publisher, heard. */
  watch(publisher: Publisher): Publisher;
  /** By shard, of the last minute; absent = nothing. */
  of(tenant: string): Map<number, number>;
}

interface Mark {
  seq: number;
  /** Monotonic. */
  at: number;
}

/** No index is behind for so long. */
const keepMs = 60_000;
/** Once in so many new tenants those that stored nothing lately are forgotten. */
const sweepEvery = 1000;

export function createStoredMarks(config: () => PodConfig, clock: Clock): StoredMarks {
  const tenants = new Map<string, Map<number, Mark>>();
  const isLimited = (tenant: string): boolean =>
    config().tenants.get(tenant)?.limits.queuedMessages !== undefined;
  const isOld = ({ at }: Mark): boolean => clock.monotonic() - at >= keepMs;
  const sweep = (): void => {
    for (const [tenant, marks] of tenants) if ([...marks.values()].every(isOld)) tenants.delete(tenant);
  };
  const note = (tenant: string, shard: number, seq: number): void => {
    let marks = tenants.get(tenant);
    if (marks === undefined) {
      if (tenants.size % sweepEvery === sweepEvery - 1) sweep();
      marks = new Map();
      tenants.set(tenant, marks);
    }
    const mark = marks.get(shard);
    const at = clock.monotonic();
    if (mark === undefined || isOld(mark)) marks.set(shard, { seq, at });
    else {
      mark.seq = Math.max(mark.seq, seq);
      mark.at = at;
    }
  };
  return {
    watch: (publisher) => ({
      ...publisher,
      store(entry, done) {
        const { tenant } = entry.envelope;
        if (!isLimited(tenant)) return publisher.store(entry, done);
        return publisher.store(entry, (stored) => {
          if (stored.kind === "stored") note(tenant, entry.shard, stored.seq);
          done(stored);
        });
      },
    }),
    of(tenant) {
      const fresh = [...(tenants.get(tenant) ?? [])].filter(([, mark]) => !isOld(mark));
      return new Map(fresh.map(([shard, { seq }]) => [shard, seq]));
    },
  };
}
