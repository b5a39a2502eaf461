/**
 * Which parent entries are split at once: as many as their children and bytes allow, in order of arrival, so that neither memory nor the
 * publisher is filled by those of a shard that was just taken. One that is larger than that alone goes alone. Pure.
 */

export interface Splitting {
  /** At most so many are published at once. */
  readonly children: number;
  readonly bytes: number;
}

export interface SplitQueue<T extends Splitting> {
  /** `begin` has it at once, or when it is its turn. */
  enter(one: T): void;
  /** What it took is free again; a second time does nothing. */
  leave(one: T): void;
  /** Takes out what waits and is meant; answers it. */
  drop(isMeant: (one: T) => boolean): readonly T[];
}

/** A quarter of what the publisher takes, and half of its bytes (`spool/publisher.ts`). */
export const mostAtOnce = { children: 1024, bytes: 32_000_000 } as const;
/** Those that wait are kept in an array whose head moves on; it is cut off from here on. */
const compactFrom = 1024;

/** `begin` answers whether it has begun; what has not goes without taking room. It calls `leave` later, never at once. */
export function createSplitQueue<T extends Splitting>(
  most: Splitting,
  begin: (one: T) => boolean,
): SplitQueue<T> {
  const running = new Set<T>();
  let children = 0;
  let bytes = 0;
  let waiting: T[] = [];
  let head = 0;

  const hasRoomFor = (one: T): boolean =>
    running.size === 0 || (children + one.children <= most.children && bytes + one.bytes <= most.bytes);
  const pump = (): void => {
    for (let one = waiting[head]; one !== undefined && hasRoomFor(one); one = waiting[head]) {
      head++;
      if (!begin(one)) continue;
      running.add(one);
      children += one.children;
      bytes += one.bytes;
    }
    if (head < compactFrom && head < waiting.length) return;
    waiting = waiting.slice(head);
    head = 0;
  };

  return {
    enter(one) {
      waiting.push(one);
      pump();
    },
    leave(one) {
      if (!running.delete(one)) return;
      children -= one.children;
      bytes -= one.bytes;
      pump();
    },
    drop(isMeant) {
      const all = waiting.slice(head);
      waiting = all.filter((one) => !isMeant(one));
      head = 0;
      pump();
      return all.filter(isMeant);
    },
  };
}
