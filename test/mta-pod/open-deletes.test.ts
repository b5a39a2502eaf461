import assert from "node:assert/strict";
import { test } from "node:test";
import { watchDeletes } from "#mta-pod/open-deletes.ts";
import type { Entries } from "#mta-pod/spool/entries.ts";

/** A store that answers deletes when told to. */
function scene() {
  const clock = { time: 0, monotonic: () => clock.time };
  const waiting: (() => void)[] = [];
  const store: Pick<Entries, "remove"> = {
    remove: (_entry, done) => void waiting.push(() => done("removed")),
  };
  const { entries, stallMs } = watchDeletes(store as Entries, clock);
  let answered = 0;
  return {
    clock,
    stallMs,
    remove: (shard = 0) => entries.remove({ shard, seq: 1 }, () => answered++),
    answer: () => waiting.shift()?.(),
    answerLast: () => waiting.pop()?.(),
    /** Deletes one after another, each answered after so long. */
    usual(ms: number, count = 100) {
      for (let number = 0; number < count; number++) {
        entries.remove({ shard: 0, seq: 1 }, () => answered++);
        clock.time += ms;
        waiting.shift()?.();
      }
    },
    answered: () => answered,
  };
}

test("a store that answers as usual stalls nobody, however slow it is", () => {
  for (const ms of [1, 10, 50, 200, 600]) {
    const { usual, remove, clock, stallMs, answered } = scene();
    usual(ms);
    assert.equal(answered(), 100);
    remove();
    clock.time += ms;
    assert.equal(stallMs(0), 0, `${ms} ms`);
  }
});

test("a store that was quick is late after a tenth of a second, one that was slow a little later, any after a second", () => {
  for (const [ms, lateAfter] of [
    [10, 101],
    [150, 200],
    [900, 1001],
  ] as const) {
    const { usual, remove, clock, stallMs } = scene();
    usual(ms);
    remove();
    clock.time += lateAfter;
    assert.ok(stallMs(0) > 0, `${ms} ms`);
  }
});

test("what jumps about is given more time than what is even", () => {
  const { usual, remove, clock, stallMs } = scene();
  for (let number = 0; number < 50; number++) {
    usual(20, 1);
    usual(180, 1);
  }
  remove();
  clock.time += 200;
  assert.equal(stallMs(0), 0);
});

test("only the shard whose deletes are late is held, longer the longer it lasts, and no longer once it is answered", () => {
  const { usual, remove, clock, stallMs, answer } = scene();
  usual(10);
  remove();
  remove(1);
  answer();
  answer();
  remove();
  clock.time += 120;
  assert.deepEqual([stallMs(0), stallMs(1)], [30, 0]);
  clock.time += 10_000;
  assert.equal(stallMs(0), 250);
  answer();
  assert.equal(stallMs(0), 0);
});

test("after an outage it is as strict as before within some tens of answers", () => {
  const { usual, remove, clock, stallMs } = scene();
  usual(10);
  usual(20_000, 64);
  usual(10, 60);
  remove();
  clock.time += 150;
  assert.ok(stallMs(0) > 0);
});

test("one that is refused while those after it are answered holds nobody", () => {
  const { usual, remove, clock, stallMs, answerLast } = scene();
  usual(10);
  remove();
  clock.time += 110;
  remove();
  assert.ok(stallMs(0) > 0);
  answerLast();
  assert.equal(stallMs(0), 0);
  clock.time += 60_000;
  assert.equal(stallMs(0), 0);
});

test("those that were sent side by side do not overtake each other", () => {
  const { usual, remove, clock, stallMs, answerLast } = scene();
  usual(10);
  remove();
  clock.time += 50;
  remove();
  answerLast();
  clock.time += 60;
  assert.ok(stallMs(0) > 0);
});

test("when nothing is answered one is begun each half minute, and its delete tells whether the store answers again", () => {
  const { usual, remove, clock, stallMs, answerLast } = scene();
  usual(10);
  remove();
  for (let probe = 0; probe < 2; probe++) {
    clock.time += 29_999;
    assert.ok(stallMs(0) > 0);
    clock.time += 1;
    assert.equal(stallMs(0), 0, "one may begin");
    assert.ok(stallMs(0) > 0, "and no other");
  }
  remove();
  clock.time += 10;
  answerLast();
  assert.equal(stallMs(0), 0);
});
