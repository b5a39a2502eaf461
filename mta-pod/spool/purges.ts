/** Takes all stored entries of one tenant out of a shard in one call, whatever their number. Never throws. */
import { callApi } from "./api.ts";
import type { Bundles } from "./bundles.ts";
import type { Spool } from "./connection.ts";

export interface Purge {
  readonly shard: number;
  readonly tenant: string;
  /** The last sequence that goes. */
  readonly upTo: number;
}

export interface Purges {
  /** False = the server did not say that it was done; asking again does no harm. */
  purge(what: Purge): Promise<boolean>;
}

/** The server walks over what is stored: about a second for a million. */
const answerMs = 60_000;

export function createPurges(spool: Spool, bundles: Pick<Bundles, "purged">): Purges {
  return {
    async purge({ shard, tenant, upTo }) {
      const filter = spool.names.entryFilter(shard, tenant);
      const result = await callApi(spool, {
        subject: `STREAM.PURGE.${spool.names.shardStream(shard)}`,
        body: { filter, seq: upTo + 1 },
        timeoutMs: answerMs,
      });
      if (result.kind !== "ok") return false;
      bundles.purged(shard, filter.slice(0, -1), upTo);
      return true;
    },
  };
}
