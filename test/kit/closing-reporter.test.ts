import assert from "node:assert/strict";
import { test } from "node:test";
import { closingLine, reasonOf } from "#test/kit/closing-reporter.ts";

const all = { tests: 3, passed: 3, skipped: 0, todo: 0 };

for (const [what, run, expected] of [
  ["all passed", { counts: all, tier: "" }, "Shown: 3 tests passed, none failed, in 2 s."],
  [
    "a cluster",
    { counts: all, tier: "cluster tier: api (no root)" },
    "Shown: 3 tests passed, none failed, in 2 s; cluster tier: api (no root).",
  ],
  [
    "one skipped",
    { counts: { ...all, passed: 2, skipped: 1 }, tier: "" },
    "Shown: 2 tests passed, none failed, 1 skipped, in 2 s.",
  ],
  [
    "one failed or cancelled",
    { counts: { ...all, passed: 2 }, tier: "" },
    "NOT SHOWN: 1 of 3 tests failed, see above.",
  ],
  ["none that ran", { counts: { ...all, passed: 0, tests: 0 }, tier: "" }, "NOT SHOWN: no test ran."],
  ["no end", { counts: undefined, tier: "" }, "NOT SHOWN: the run ended early."],
] as const)
  test(`closingLine() of a run with ${what}`, () => assert.equal(closingLine(run, 2.2), expected));

for (const [what, cause, expected] of [
  [
    "an assertion",
    new assert.AssertionError({ message: "one is not two" }),
    /^a: AssertionError.*: one is not two\n/,
  ],
  ["something that is no error", "no reason", /^a: no reason$/],
  ["nothing", undefined, /^a: Error: test failed/],
] as const)
  test(`reasonOf() a test that failed by ${what} says which, and why, in few lines`, () => {
    const error = Object.assign(new Error("test failed"), { cause });
    const event = reasonOf({ name: "a", nesting: 1, details: { duration_ms: 1, error } });
    assert.ok(event.type === "test:diagnostic");
    assert.match(event.data.message, expected);
    assert.equal(event.data.nesting, 1);
  });

test("reasonOf() a long reason is cut", () => {
  const cause = new Error("line\n".repeat(1000));
  const error = Object.assign(new Error("test failed"), { cause });
  const event = reasonOf({ name: "a", nesting: 0, details: { duration_ms: 1, error } });
  assert.ok(event.type === "test:diagnostic" && event.data.message.split("\n").length <= 30);
});
