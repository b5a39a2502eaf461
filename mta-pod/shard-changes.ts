/** CORRIDOR: a shard is ours, or is not any more: who is told, and in which order. */
import type { Former } from "./former-owners.ts";
import type { Leaving } from "./hand-over.ts";
import type { Outbound } from "./outbound.ts";
import type { Poison } from "./poison.ts";
import type { Shards } from "./shards.ts";
import type { OwnershipHandlers } from "./spool/ownership-handlers.ts";

export interface ShardChangesDeps {
  readonly leaving: Pick<Leaving, "over" | "closeIdle" | "quiesce">;
  readonly former: Pick<Former, "owned">;
  readonly poison: Pick<Poison, "owned" | "lost">;
  readonly shards: Pick<Shards, "owned" | "lost">;
  readonly outbound: Pick<Outbound, "abandon">;
}

/** `of` is asked at each change: what it answers is built on top of the ownership that these are for. */
export function createShardChanges(of: () => ShardChangesDeps): OwnershipHandlers {
  return {
    onOwned(shard, leaseSeq, handOver, how) {
      const { leaving, former, poison, shards } = of();
      leaving.over(shard);
      const told = former.owned(shard, handOver, how);
      poison.owned(shard, how, told?.suspicion);
      shards.owned(shard, leaseSeq);
    },
    onLost(shard, reason) {
      const { leaving, poison, shards, outbound } = of();
      shards.lost(shard, reason);
      outbound.abandon(shard);
      // Left to themselves they would outlast the lease by seconds, and the next owner knows only those of the last heartbeat.
      leaving.closeIdle(shard);
      poison.lost(shard);
      leaving.over(shard, reason === "rebalance" || reason === "released");
    },
    quiesce: (shard) => of().leaving.quiesce(shard),
  };
}
