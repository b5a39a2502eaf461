/** Entries of many lanes, oldest first. Pure, never fails. */
import { DueHeap } from "./due-heap.ts";
import { noSlot, type EntryTable } from "./entry-table.ts";
import type { LaneState } from "./lane-state.ts";

/** The slots of the `limit` oldest; looks at one entry of each list besides. */
export function oldestOf(lanes: Iterable<LaneState>, table: EntryTable, limit: number): readonly number[] {
  const heads = new DueHeap();
  const offer = (slot: number): void => {
    if (slot !== noSlot) heads.push(table.receivedAt(slot), slot);
  };
  for (const lane of lanes) for (const { head } of lane.lists) offer(head);
  const oldest: number[] = [];
  while (heads.length > 0 && oldest.length < limit) {
    const slot = heads.topSlot();
    heads.pop();
    oldest.push(slot);
    offer(table.nextOf(slot));
  }
  return oldest;
}
