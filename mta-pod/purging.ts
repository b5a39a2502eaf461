/**
 * CORRIDOR: what is queued of a tenant that is deleted goes shard by shard, in a few purges each: one by one a million would take
 * minutes. Nobody is told, and no event is written; what is under way ends as it ends. Never throws.
 */
import type { HotBodies } from "./hot-bodies.ts";
import type { Pod } from "./pod.ts";
import type { Purges } from "./spool/purges.ts";

export interface PurgingDeps {
  readonly pod: Pick<Pod, "scheduler" | "ownership" | "log">;
  /** States go on after `purge()` has answered: they delay nobody, and the next owner drops what is left. */
  readonly purges: Purges;
  /** Bodies of what is gone would hold their room for ever. */
  readonly hot: Pick<HotBodies, "take">;
}

export interface Purging {
  /** Of a tenant's queued entries: those that may go together, and those that have to go one by one, first. */
  sort(handles: readonly number[]): Promise<Sorted>;
  /** Answers those that are still there: the server did not say that they are gone. */
  purge(tenant: string, handles: readonly number[]): Promise<readonly number[]>;
}

interface Sorted {
  readonly together: readonly number[];
  readonly single: readonly number[];
}

/** Fewer go one by one, each with its event. */
const fewest = 1000;
/** A body this large may be stored apart, in chunks that are looked for by its id. */
const mayBeApart = 256 * 1024;
/** Looked at before others get their turn. */
const slice = 10_000;

interface Group {
  readonly handles: number[];
  from: number;
  upTo: number;
}

export function createPurging({ pod, purges, hot }: PurgingDeps): Purging {
  const { scheduler, ownership, log } = pod;

  const inSlices = async (handles: readonly number[], act: (handle: number) => void): Promise<void> => {
    for (let from = 0; from < handles.length; from += slice) {
      for (const handle of handles.slice(from, from + slice)) act(handle);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  return {
    async sort(handles) {
      if (handles.length < fewest) return { together: [], single: handles };
      const together: number[] = [];
      const single: number[] = [];
      await inSlices(handles, (handle) => {
        const size = scheduler.entryOf(handle)?.entry.size ?? 0;
        (size < mayBeApart ? together : single).push(handle);
      });
      return { together, single };
    },
    async purge(tenant, handles) {
      const groups = new Map<number, Group>();
      await inSlices(handles, (handle) => {
        const queued = scheduler.entryOf(handle);
        if (queued === undefined || queued.state === "inflight") return;
        const { shard, seq } = queued.entry;
        const group = groups.get(shard) ?? { handles: [], from: seq, upTo: seq };
        groups.set(shard, group);
        group.handles.push(handle);
        group.from = Math.min(group.from, seq);
        group.upTo = Math.max(group.upTo, seq);
      });
      const left: number[] = [];
      for (const [shard, group] of groups) {
        const { from, upTo } = group;
        const isDone = ownership.mayProceed(shard) && (await purges.purge({ shard, tenant, from, upTo }));
        if (!isDone) {
          for (const handle of group.handles) left.push(handle);
          continue;
        }
        const attempted: number[] = [];
        // What was begun meanwhile finds nothing stored, or ends as it would have.
        await inSlices(group.handles, (handle) => {
          const queued = scheduler.entryOf(handle);
          if (queued?.state === "inflight") return;
          if (queued !== undefined && queued.entry.attempt > 0) attempted.push(queued.entry.seq);
          hot.take(handle);
          scheduler.settle(handle);
        });
        log.info("tenant purged", { tenant, shard, count: group.handles.length });
        if (attempted.length === 0) continue;
        void purges.dropStates(shard, attempted).then((count) => {
          const left = attempted.length - count;
          log.info("states of a purged tenant dropped", { tenant, shard, count, left });
        });
      }
      return left;
    },
  };
}
