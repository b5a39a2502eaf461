import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Deadline } from "#mta-pod/smtp-out/deadline.ts";

function deadline(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout", "setImmediate"] });
  let now = 0;
  let passed = 0;
  const limit = new Deadline({ now: () => now, monotonic: () => now }, () => passed++);
  const pass = (ms: number) => {
    now += ms;
    t.mock.timers.tick(ms);
    t.mock.timers.tick(0);
  };
  return { limit, pass, passed: () => passed };
}

test("Deadline passes once, when its time is over", (t) => {
  const { limit, pass, passed } = deadline(t);
  limit.arm(100);
  pass(99);
  assert.equal(passed(), 0);
  pass(1);
  assert.equal(passed(), 1);
  pass(1000);
  assert.equal(passed(), 1);
});

test("Deadline moved later or earlier passes at the new time only", (t) => {
  const { limit, pass, passed } = deadline(t);
  limit.arm(100);
  pass(50);
  limit.arm(100);
  pass(60);
  assert.equal(passed(), 0);
  limit.arm(10);
  pass(10);
  assert.equal(passed(), 1);
});

test("Deadline without a limit does not pass, and one that is disposed neither", (t) => {
  const { limit, pass, passed } = deadline(t);
  limit.arm(100);
  limit.disarm();
  pass(500);
  limit.arm(100);
  limit[Symbol.dispose]();
  pass(500);
  assert.equal(passed(), 0);
});

test("a timer that comes with what was waited for lets that be read first", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  let passed = 0;
  const limit = new Deadline({ now: () => now, monotonic: () => now }, () => passed++);
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  limit.arm(100);
  // The process was held up: its timer fires, and only then it reads what came in time.
  now = 5000;
  t.mock.timers.tick(100);
  limit.arm(100);
  await turn();
  assert.equal(passed, 0);
  now = 5100;
  t.mock.timers.tick(100);
  await turn();
  assert.equal(passed, 1);
});
