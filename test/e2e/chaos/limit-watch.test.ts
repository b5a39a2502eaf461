/** The watch of the limits against a made-up clock: what is one too many, what is not, and what it cannot know. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Visit } from "#e2e/kit/sink.ts";
import { createLimitWatch, type LimitWatch, type WatchClock } from "#e2e/chaos/limit-watch.ts";

interface World {
  readonly watch: LimitWatch;
  /** A connection of process `by`; 0 = it has not said so yet. */
  connect(by?: number): { by: number } & Visit;
  /** Time passes, and the watch's own process runs on, unless it is `busy`. */
  pass(ms: number, busy?: "busy"): void;
  /** Everything that the kernel had told is read. */
  endTurn(): void;
}

const limit = { name: "limited", connections: 2, perSecond: 20 };

function begin(): World {
  let now = 0;
  let tick = (): void => {};
  let looks: (() => void)[] = [];
  const clock: WatchClock = {
    now: () => now,
    every(_ms, told) {
      tick = told;
      return () => {};
    },
    afterTurn: (look) => void looks.push(look),
  };
  const watch = createLimitWatch([limit], () => {}, clock);
  return {
    watch,
    connect(by = 0) {
      const visit = { place: 0, by, messages: 0 };
      watch.connected(visit);
      return visit;
    },
    pass(ms, busy) {
      for (let left = ms; left > 0; left--) {
        now++;
        if (busy === undefined) tick();
      }
    },
    endTurn() {
      const due = looks;
      looks = [];
      for (const look of due) look();
    },
  };
}

test("createLimitWatch(): a third connection is a violation, however short it is", () => {
  const { watch, connect, pass, endTurn } = begin();
  const [third] = [connect(7), connect(8), connect(8)];
  pass(100);
  endTurn();
  watch.disconnected(third);
  assert.deepEqual(watch.violations(), ["limited: 3 connections, 2 allowed (7: 1, 8: 2)"]);
});

test("createLimitWatch(): a connection in place of one that ended before, read in either order, is none", () => {
  const { watch, connect, endTurn } = begin();
  const [first, second] = [connect(), connect()];
  watch.disconnected(first);
  connect();
  endTurn();
  assert.deepEqual(watch.doubtful(), { count: 0, of: 3 });
  connect();
  watch.disconnected(second);
  endTurn();
  assert.deepEqual(watch.violations(), []);
  assert.deepEqual(watch.doubtful(), { count: 1, of: 4 });
  assert.deepEqual(watch.most(0), { connections: 3, perSecond: 0 });
});

const gaps = [
  { name: "a second apart", ms: 50, violations: 0 },
  { name: "within 980 ms", ms: 49, violations: 1 },
] as const;

for (const { name, ms, violations } of gaps)
  test(`createLimitWatch(): 21 messages at 20/s, the first and the last ${name}: ${violations} violations`, () => {
    const { watch, pass } = begin();
    pass(100);
    for (let index = 0; index < 21; index++) {
      if (index > 0) pass(ms);
      watch.message(0);
    }
    assert.equal(watch.violations().length, violations);
    assert.deepEqual(watch.doubtful(), { count: 0, of: 21 });
  });

test("createLimitWatch(): what was read late is not held against the pods, and is told", () => {
  const { watch, pass } = begin();
  pass(100);
  pass(150, "busy");
  // Came 50 ms apart while nobody looked, and are read together.
  for (let index = 0; index < 3; index++) watch.message(0);
  for (let index = 3; index < 22; index++) {
    pass(50);
    watch.message(0);
  }
  assert.deepEqual(watch.violations(), []);
  assert.deepEqual(watch.doubtful(), { count: 2, of: 22 });
});

test("createLimitWatch(): lateness excuses no more than itself", () => {
  const { watch, pass } = begin();
  pass(100);
  pass(150, "busy");
  for (let index = 0; index < 3; index++) watch.message(0);
  for (let index = 3; index < 22; index++) {
    pass(46);
    watch.message(0);
  }
  assert.equal(watch.violations().length, 1, "21 within 828 ms as read, 979 ms at most");
  assert.equal(watch.doubtful().count, 1);
});

test("createLimitWatch(): what a process frozen past its leases has open is excused, and no more than that", () => {
  const { watch, connect, pass, endTurn } = begin();
  const also = (by: number): Visit => {
    const visit = connect(by);
    endTurn();
    return visit;
  };
  also(7);
  watch.frozen(7);
  pass(11_000);
  also(8);
  const second = also(8);
  assert.equal(watch.violations().length, 1, "its lease is still its own");
  watch.disconnected(second);
  pass(2_000);
  const third = also(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [1, 1]);
  const fourth = also(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [1, 2]);
  watch.disconnected(third);
  watch.thawed(7);
  pass(1_000);
  watch.disconnected(fourth);
  const fifth = also(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [2, 2], "it has a moment to close");
  watch.disconnected(fifth);
  pass(2_000);
  also(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [2, 3]);
});

test("createLimitWatch(): one that never said whose it is, and is as old as a freeze, is the frozen process's", () => {
  const { watch, connect, pass, endTurn } = begin();
  connect(7);
  pass(1);
  watch.frozen(7);
  // The kernel took it just before; this process reads it just after.
  pass(5);
  connect();
  pass(14_000);
  connect(8);
  connect(8);
  endTurn();
  assert.deepEqual([watch.excused(), watch.violations()], [2, []]);
  const silent = connect();
  endTurn();
  const [found = ""] = watch.violations();
  assert.equal(
    found,
    "limited: 5 connections, 2 allowed (7: 1, 8: 2, unknown for 14.0 s, unknown for 0.0 s)",
  );
  watch.disconnected(silent);
});
