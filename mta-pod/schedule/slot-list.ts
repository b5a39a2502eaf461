/** First-in first-out lists of slots, linked inside the entry table; a slot is in one list at most. Pure. */
import { type EntryTable, noSlot } from "./entry-table.ts";

export interface SlotList {
  head: number;
  tail: number;
  length: number;
}

export function emptyList(): SlotList {
  return { head: noSlot, tail: noSlot, length: 0 };
}

export function appendSlot(table: EntryTable, list: SlotList, slot: number): void {
  table.setNext(slot, noSlot);
  table.setPrevious(slot, list.tail);
  if (list.tail === noSlot) list.head = slot;
  else table.setNext(list.tail, slot);
  list.tail = slot;
  list.length++;
}

export function prependSlot(table: EntryTable, list: SlotList, slot: number): void {
  table.setPrevious(slot, noSlot);
  table.setNext(slot, list.head);
  if (list.head === noSlot) list.tail = slot;
  else table.setPrevious(list.head, slot);
  list.head = slot;
  list.length++;
}

/** The slot must be in this very list. */
export function unlinkSlot(table: EntryTable, list: SlotList, slot: number): void {
  const next = table.nextOf(slot);
  const previous = table.previousOf(slot);
  if (previous === noSlot) list.head = next;
  else table.setNext(previous, next);
  if (next === noSlot) list.tail = previous;
  else table.setPrevious(next, previous);
  list.length--;
}
