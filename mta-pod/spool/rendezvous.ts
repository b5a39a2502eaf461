/** Rendezvous hashing: which of the live pods a shard (or a tenant's home) belongs to. Pure; no pods, no owner. */
import { hash32 } from "#crds/values/hash.ts";

/**
 * The pod with the highest weight for `key`. Every pod that sees the same set gives the same answer, in any order of
 * the set, and a pod that leaves moves only what it had. Ties (1 in 2^32) go to the smaller name.
 * @example ownerOf("shard 3", ["pod-a"]) === "pod-a"
 */
export function ownerOf(key: string, pods: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestWeight = -1;
  for (const pod of pods) {
    const weight = hash32(`${key}@${pod}`);
    if (weight > bestWeight || (weight === bestWeight && best !== undefined && pod < best)) {
      best = pod;
      bestWeight = weight;
    }
  }
  return best;
}

/**
 * Owner of each shard, by index; empty when there are no pods. Heaviest pairs first, and no pod gets more than its even
 * share, rounded up: by plain rendezvous one of two pods had 7 of 8 shards or all in 7 % of the pools.
 */
export function ownersOf(shards: number, pods: readonly string[]): readonly string[] {
  const pairs = [];
  for (let shard = 0; shard < shards; shard++)
    for (const pod of pods) pairs.push({ shard, pod, weight: hash32(`shard ${shard}@${pod}`) });
  pairs.sort((a, b) => b.weight - a.weight || a.shard - b.shard || (a.pod < b.pod ? -1 : 1));
  const share = Math.ceil(shards / pods.length);
  const taken = new Map<string, number>();
  const owners: string[] = [];
  for (const { shard, pod } of pairs) {
    const count = taken.get(pod) ?? 0;
    if (owners[shard] !== undefined || count >= share) continue;
    owners[shard] = pod;
    taken.set(pod, count + 1);
  }
  return owners;
}
