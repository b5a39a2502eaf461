/** Compares what the generator was told with what the sink got, id by id. Pure. */
import { percentile } from "./statistics.ts";

interface Latency {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly most: number;
}

export interface Audit {
  readonly delivered: number;
  /** Accepted, and not delivered whole. */
  readonly lost: number;
  /** Never accepted, and delivered all the same. */
  readonly unasked: number;
  /** From the 250 to the sink's last byte. */
  readonly latencyMs: Latency;
}

export interface Ids {
  readonly firstId: number;
  /** Of the generator, by id from `firstId`; seconds, 0 = never. */
  readonly acceptedAt: Float64Array;
  /** Of the sink, by id from 0; seconds, 0 = never. */
  readonly completeAt: Float64Array;
}

export function audit({ firstId, acceptedAt, completeAt }: Ids): Audit {
  const latencies = new Float64Array(acceptedAt.length);
  let delivered = 0;
  let lost = 0;
  let unasked = 0;
  for (const [index, accepted] of acceptedAt.entries()) {
    const complete = completeAt[firstId + index] ?? 0;
    if (accepted > 0 && complete === 0) lost++;
    if (accepted === 0 && complete > 0) unasked++;
    // A path that delivers while its 250 is on the way is done "before" the generator has read it.
    if (accepted > 0 && complete > 0) latencies[delivered++] = Math.max(0, complete - accepted) * 1e3;
  }
  const sorted = latencies.subarray(0, delivered).sort();
  const at = (share: number): number => percentile(sorted, share);
  return { delivered, lost, unasked, latencyMs: { p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1) } };
}
