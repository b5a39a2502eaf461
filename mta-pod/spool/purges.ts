/**
 * Takes all stored entries of one tenant out of a shard in a few calls, whatever their number, and the state records that they leave
 * one by one, since those have no tenant in their subjects. Never throws.
 */
import { callApi } from "./api.ts";
import type { Bundles } from "./bundles.ts";
import type { Spool } from "./connection.ts";

export interface Purge {
  readonly shard: number;
  readonly tenant: string;
  /** The first sequence that goes, and the last. */
  readonly from: number;
  readonly upTo: number;
}

export interface Purges {
  /** False = the server did not say that it was done; asking again does no harm. */
  purge(what: Purge): Promise<boolean>;
  /**
   * Of entries that are gone, by their sequences; resolves to how many of these have no state any more. What the server does not confirm
   * is not asked for again: the next owner drops a state without an entry.
   */
  dropStates(shard: number, seqs: readonly number[]): Promise<number>;
}

/** Sequences in one call: while it walks over them the server stores nothing in that shard, for a second or two if it were a million. */
const step = 25_000;
/** Of one call. */
const answerMs = 60_000;
/** Calls under way, whatever the number of shards and tenants: mail goes on beside it. */
const maxUnderWay = 32;

export function createPurges(spool: Spool, bundles: Pick<Bundles, "purged">): Purges {
  /** One call of `dropStates` after the other, so that the bound is the pod's. */
  let dropping: Promise<unknown> = Promise.resolve();

  const dropNow = async (shard: number, seqs: readonly number[], isSure: () => boolean): Promise<number> => {
    let next = 0;
    let dropped = 0;
    const work = async (): Promise<void> => {
      while (next < seqs.length && isSure()) {
        const filter = spool.names.stateSubject(shard, seqs[next++] ?? 0);
        const result = await callApi(spool, {
          subject: `STREAM.PURGE.${spool.names.shardStream(shard)}`,
          body: { filter },
          isUrgent: false,
        });
        if (result.kind === "ok") dropped++;
      }
    };
    await Promise.all(Array.from({ length: maxUnderWay }, work));
    return dropped;
  };

  return {
    dropStates(shard, seqs) {
      // A server that has lost its last messages gives their sequences to others: a state may be somebody else's then.
      let wasAway = false;
      const forget = spool.onReconnect(() => {
        wasAway = true;
      });
      const isSure = (): boolean => !wasAway && !spool.closing.aborted;
      const dropped = dropping.then(() => dropNow(shard, seqs, isSure)).finally(forget);
      dropping = dropped;
      return dropped;
    },
    async purge({ shard, tenant, from, upTo }) {
      const filter = spool.names.entryFilter(shard, tenant);
      for (let done = from - 1; done < upTo; ) {
        done = Math.min(upTo, done + step);
        const result = await callApi(spool, {
          subject: `STREAM.PURGE.${spool.names.shardStream(shard)}`,
          body: { filter, seq: done + 1 },
          timeoutMs: answerMs,
        });
        if (result.kind !== "ok") return false;
      }
      bundles.purged(shard, filter.slice(0, -1), upTo);
      return true;
    },
  };
}
