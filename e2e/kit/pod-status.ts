/** What the pods of a local mode say of themselves on their metrics ports. */
import type { LocalMode } from "#test/kit/local.ts";

export interface PodStatus {
  readonly pod: string;
  /** Pods that it knows of, itself included. */
  readonly members: readonly string[];
  readonly shards: readonly number[];
  readonly queued: number;
  /** Attempts from the first look at the entry to the acknowledged delete. */
  readonly inFlight: number;
}

const statusMs = 1000;

/** Of the pods that answer. */
export async function podStatuses(local: LocalMode): Promise<PodStatus[]> {
  const [pool] = (await local.read()).pools;
  const all = await Promise.all((pool?.metrics ?? []).map(podStatus));
  return all.filter((one) => one !== undefined);
}

/** undefined = no answer, or, as it is starting, nothing to tell yet. */
export async function podStatus(address: string): Promise<PodStatus | undefined> {
  try {
    const response = await fetch(`http://${address}/statusz`, { signal: AbortSignal.timeout(statusMs) });
    const status = (await response.json()) as Partial<PodStatus>;
    return status.shards === undefined ? undefined : (status as PodStatus);
  } catch {
    return undefined;
  }
}
