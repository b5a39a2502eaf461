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

/** Owner of each shard, by index; empty when there are no pods. */
export function ownersOf(shards: number, pods: readonly string[]): readonly string[] {
  const owners: string[] = [];
  for (let shard = 0; shard < shards; shard++) {
    const owner = ownerOf(`shard ${shard}`, pods);
    if (owner !== undefined) owners.push(owner);
  }
  return owners;
}
