/** How the shards are divided among the pods that live, and since when that stands. Pure data; never fails. */
import type { Member } from "./members.ts";
import { ownersOf } from "./rendezvous.ts";

export interface Division {
  /** Takes in who lives now; cheap while nothing has changed. */
  update(members: readonly Member[], mono: number): void;
  ownerOf(shard: number): string | undefined;
  /** The pod that should have the shard instead of `self` and is ready to take it. */
  successorOf(shard: number, self: string): string | undefined;
  /** Monotonic time of the last change. */
  since(): number;
}

export function createDivision(shards: number): Division {
  let key = "";
  let since = 0;
  let owners: readonly string[] = [];
  let live: ReadonlySet<string> = new Set();
  return {
    update(members, mono) {
      const staying = members.filter(({ state }) => state !== "leaving");
      const next = staying
        .map(({ pod, state }) => `${pod}/${state}`)
        .sort()
        .join(" ");
      if (next === key) return;
      key = next;
      since = mono;
      owners = ownersOf(
        shards,
        staying.map(({ pod }) => pod),
      );
      live = new Set(staying.filter(({ state }) => state === "live").map(({ pod }) => pod));
    },
    ownerOf: (shard) => owners[shard],
    successorOf(shard, self) {
      const owner = owners[shard];
      // To a pod that is still joining nothing is given: it would lie there unowned.
      return owner === undefined || owner === self || !live.has(owner) ? undefined : owner;
    },
    since: () => since,
  };
}
