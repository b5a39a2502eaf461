import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "#mta-pod/schedule/backoff.ts";
import { Window } from "#mta-pod/schedule/window.ts";

test("a window starts at 5, or at the limit", () => {
  for (const [limit, size] of [
    [1, 1],
    [2, 2],
    [5, 5],
    [20, 5],
    [0, 1],
    [Number.NaN, 1],
  ] as const)
    assert.equal(new Window(limit).size, size);
});

test("a window grows by one at the end of as many good deliveries as it is wide", () => {
  const window = new Window(20);
  for (let good = 0; good < 4; good++) window.good(5);
  assert.equal(window.size, 5);
  window.good(5);
  assert.equal(window.size, 6);
  for (let good = 0; good < 1000; good++) window.good(20);
  assert.equal(window.size, 20);
});

test("a window that is not used does not grow", () => {
  const window = new Window(20);
  for (let good = 0; good < 1000; good++) window.good(1);
  assert.equal(window.size, 6);
});

test("a window shrinks at the first failure, then after as many as it is wide, and never below 1", () => {
  const window = new Window(20);
  window.restart(10);
  window.bad();
  assert.equal(window.size, 9);
  for (let bad = 0; bad < 7; bad++) window.bad();
  assert.equal(window.size, 9);
  for (let bad = 0; bad < 2; bad++) window.bad();
  assert.equal(window.size, 8);
  for (let bad = 0; bad < 500; bad++) window.bad();
  assert.equal(window.size, 1);
});

test("halve() halves, setLimit() cuts at once", () => {
  const window = new Window(20);
  window.restart(20);
  window.halve();
  assert.equal(window.size, 10);
  window.setLimit(3);
  assert.equal(window.size, 3);
  window.halve();
  window.halve();
  assert.equal(window.size, 1);
});

test("a backoff doubles up to its maximum, and starts anew after success or a long peace", () => {
  const backoff = new Backoff({ firstMs: 1000, maxMs: 8000 });
  let now = 1_000_000;
  const pauses: number[] = [];
  for (let failure = 0; failure < 5; failure++) {
    assert.equal(
      backoff.strike(now, now, () => 0.5),
      true,
    );
    pauses.push(backoff.until - now);
    now = backoff.until;
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 8000]);
  backoff.reset();
  backoff.strike(now, now, () => 0.5);
  assert.equal(backoff.until - now, 1000);
  now = backoff.until + 8001;
  backoff.strike(now, now, () => 0.5);
  assert.equal(backoff.until - now, 1000);
});

test("failures of what was begun before the last strike do not count again", () => {
  const backoff = new Backoff({ firstMs: 1000, maxMs: 8000 });
  assert.equal(
    backoff.strike(90, 100, () => 0.5),
    true,
  );
  assert.equal(
    backoff.strike(99, 101, () => 0.5),
    false,
  );
  assert.equal(backoff.until, 1100);
});

test("jitter stays within a fifth", () => {
  for (const [chance, until] of [
    [0, 4000],
    [1, 6000],
  ] as const) {
    const backoff = new Backoff({ firstMs: 5000, maxMs: 8000 });
    backoff.strike(0, 0, () => chance);
    assert.equal(Math.round(backoff.until), until);
  }
});
