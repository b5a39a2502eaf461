import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Broom } from "#mta-pod/schedule/broom.ts";
import { DueHeap } from "#mta-pod/schedule/due-heap.ts";
import { EntryTable, slotStates } from "#mta-pod/schedule/entry-table.ts";
import { TimerHeap } from "#mta-pod/schedule/timer-heap.ts";

const entry = {
  shard: 3,
  seq: 2 ** 40,
  idHash: 0xffffffff,
  size: 5,
  receivedAt: 6,
  expiresAt: 7,
  due: 8,
  attempt: 9,
};

test("an entry comes back from the table as it went in", () => {
  const table = new EntryTable();
  assert.deepEqual(table.entryAt(table.take(entry, 1)), entry);
});

test("a handle does not stand for the next entry in its slot", () => {
  const table = new EntryTable();
  const slot = table.take(entry, 1);
  table.setState(slot, slotStates.ready);
  const handle = table.handleOf(slot);
  table.release(slot);
  assert.equal(table.slotOf(handle), -1);
  const again = table.take(entry, 1);
  table.setState(again, slotStates.ready);
  assert.equal(again, slot);
  assert.equal(table.slotOf(handle), -1);
  assert.equal(table.slotOf(table.handleOf(again)), slot);
});

test("what is no handle finds nothing", () => {
  const table = new EntryTable();
  for (const handle of [-1, 0.5, 7, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60])
    assert.equal(table.slotOf(handle), -1);
});

test("handles stay distinct through growth and reuse", () => {
  const table = new EntryTable();
  const handles = new Set<number>();
  for (let round = 0; round < 3; round++) {
    const slots = Array.from({ length: 5000 }, () => table.take(entry, 1));
    for (const slot of slots) {
      table.setState(slot, slotStates.ready);
      handles.add(table.handleOf(slot));
    }
    for (const slot of slots) table.release(slot);
  }
  assert.equal(handles.size, 15_000);
  assert.equal(table.used, 5000);
});

test("a shard that does not fit is refused", () => {
  assert.throws(() => new EntryTable().take({ ...entry, shard: 256 }, 1), RangeError);
});

test("the due heap gives times in order, also after a filter", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { maxLength: 3000 }), (times) => {
      const heap = new DueHeap();
      times.forEach((at, slot) => heap.push(at, slot));
      heap.filter((at, slot) => at % 3 !== 0 && times[slot] === at);
      const popped: number[] = [];
      for (; heap.length > 0; heap.pop()) popped.push(heap.topAt());
      assert.deepEqual(
        popped,
        times.filter((at) => at % 3 !== 0).sort((one, other) => one - other),
      );
      assert.equal(heap.topAt(), Number.POSITIVE_INFINITY);
    }),
  );
});

test("the broom takes an item a minute after it was last noted, or two minutes at most, whatever the others do", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(4), fc.nat(20_000)), { maxLength: 200 }), (notes) => {
      const broom = new Broom<{ name: number; emptySince: number }>();
      const items = Array.from({ length: 5 }, (_, name) => ({ name, emptySince: Number.POSITIVE_INFINITY }));
      const notedAt = new Map<number, number>();
      let now = 0;
      const sweep = (until: number): void => {
        for (; now < until; now += 100) {
          for (const { name } of items.flatMap(() => broom.take(now) ?? [])) {
            assert.ok(now - (notedAt.get(name) ?? now) >= 60_000, `${name} was noted less than a minute ago`);
            notedAt.delete(name);
          }
          for (const [name, at] of notedAt) assert.ok(now - at <= 120_000, `${name} stands in the way`);
        }
      };
      for (const [name, ms] of notes) {
        sweep(now + ms);
        const item = items[name];
        if (item === undefined) continue;
        broom.note(item, now);
        notedAt.set(name, now);
      }
      sweep(now + 130_000);
      assert.deepEqual([...notedAt], []);
    }),
  );
});

test("the timer heap agrees with a sorted list through moves and removals", () => {
  const operation = fc.record({ item: fc.nat(20), at: fc.nat(100), removes: fc.boolean() });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const items = Array.from({ length: 21 }, () => ({ at: 0, heapIndex: -1 }));
      const heap = new TimerHeap<{ at: number; heapIndex: number }>();
      const expected = new Map<number, number>();
      for (const { item, at, removes } of operations) {
        const target = items[item];
        if (target === undefined) continue;
        if (removes) heap.remove(target);
        else heap.set(target, at);
        if (removes) expected.delete(item);
        else expected.set(item, at);
        assert.equal(heap.peek()?.at ?? -1, expected.size === 0 ? -1 : Math.min(...expected.values()));
      }
    }),
  );
});
