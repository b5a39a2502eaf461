/** What a pod does when its shards come and go. Types only. */
import type { HandOver } from "./handover.ts";
import type { How, LostReason } from "./lease-state.ts";

/** "rebalance" = handed over, since another pod should own it; "released" = this pod is leaving. */
type LossReason = LostReason | "rebalance";

export interface OwnershipHandlers {
  /** `handOver` is null when there was no owner before; its `record` only when the owner released the shard itself. */
  onOwned(shard: number, leaseSeq: number, handOver: HandOver | null, how: How): void;
  onLost(shard: number, reason: LossReason): void;
  /**
   * Start nothing new on the shard; resolves to what the successor has to know, as JSON, once nothing is before its final
   * dot. Waited for `quiesceMs` at most. Without it a shard is released at once.
   */
  quiesce?(shard: number): Promise<unknown>;
}
