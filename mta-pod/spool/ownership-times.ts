/** How long everything about ownership takes; tests shorten all of it by one factor. */
import type { LeaseTimes } from "./lease-state.ts";

export interface OwnershipTimes extends LeaseTimes {
  readonly heartbeatMs: number;
  /** A pod whose heartbeat was not seen to change for so long does not count as alive. */
  readonly memberTtlMs: number;
  /** After the start: longer than a heartbeat, so that the living have shown themselves before anything is claimed. */
  readonly startSettleMs: number;
  /** The same where nobody is there that could be living unseen: for those who start at the same time. */
  readonly aloneSettleMs: number;
  /** Membership must stand for so long before a shard is handed to another pod. */
  readonly rebalanceSettleMs: number;
  /** The corridor has so long to finish what is before its final dot. */
  readonly quiesceMs: number;
  /** How long the end waits for NATS to take the last word. */
  readonly tellMs: number;
  readonly tickMs: number;
}

export const ownershipTimes: OwnershipTimes = {
  ttlMs: 15_000,
  renewEveryMs: 2_000,
  fenceMs: 12_000,
  heartbeatMs: 2_000,
  memberTtlMs: 15_000,
  startSettleMs: 2_200,
  aloneSettleMs: 400,
  rebalanceSettleMs: 1_000,
  quiesceMs: 30_000,
  tellMs: 1_000,
  tickMs: 250,
};
