/** The watch of the limits against a made-up clock: what is one too many, what is not, and what it cannot know. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLimitWatch, type LimitWatch, type WatchClock } from "#e2e/chaos/limit-watch.ts";

interface World {
  readonly watch: LimitWatch;
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
  return {
    watch: createLimitWatch([limit], () => {}, clock),
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
  const { watch, pass, endTurn } = begin();
  for (let index = 0; index < 3; index++) watch.connected(0);
  endTurn();
  pass(1);
  watch.disconnected(0, 1, 0);
  assert.deepEqual(watch.violations(), ["limited: 3 connections, 2 allowed"]);
});

test("createLimitWatch(): a connection in place of one that ended before, read in either order, is none", () => {
  const { watch, endTurn } = begin();
  watch.connected(0);
  watch.connected(0);
  watch.disconnected(0, 1, 0);
  watch.connected(0);
  endTurn();
  assert.deepEqual(watch.doubtful(), { count: 0, of: 3 });
  watch.connected(0);
  watch.disconnected(0, 1, 0);
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
  const { watch, pass, endTurn } = begin();
  const connect = (by: number): void => {
    watch.connected(0);
    watch.greeted?.(0, by);
    endTurn();
  };
  connect(7);
  watch.frozen(7);
  pass(11_000);
  for (const by of [8, 8]) connect(by);
  assert.equal(watch.violations().length, 1, "its lease is still its own");
  watch.disconnected(0, 1, 8);
  pass(2_000);
  connect(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [1, 1]);
  connect(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [1, 2]);
  watch.disconnected(0, 1, 8);
  watch.thawed(7);
  pass(1_000);
  watch.disconnected(0, 1, 8);
  connect(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [2, 2], "it has a moment to close");
  watch.disconnected(0, 1, 8);
  pass(2_000);
  connect(8);
  assert.deepEqual([watch.excused(), watch.violations().length], [2, 3]);
});
