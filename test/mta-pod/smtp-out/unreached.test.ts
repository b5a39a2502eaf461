import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault, Target } from "#mta-pod/smtp/transaction.ts";
import { createUnreached } from "#mta-pod/smtp-out/unreached.ts";

const targets: readonly Target[] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((address, at) => ({
  host: `mx${at}.example`,
  address,
  port: 25,
}));
const [first, second, third] = targets;

function silence(
  target: Target | undefined,
  kind: Fault["kind"] = "timeout",
  stage: Fault["stage"] = "connect",
): Fault {
  return { stage, kind, text: kind, ...(target === undefined ? {} : { target }) };
}

function world() {
  let now = 0;
  const unreached = createUnreached({ monotonic: () => now });
  return { unreached, pass: (ms: number) => (now += ms) };
}

test("a target that was silent is left out for a minute, for that source", () => {
  const { unreached, pass } = world();
  unreached.failed("one", silence(first));
  assert.deepEqual(unreached.worthwhile("one", targets), [second, third]);
  assert.deepEqual(unreached.worthwhile("two", targets), targets);
  pass(59_999);
  assert.deepEqual(unreached.worthwhile("one", targets), [second, third]);
  pass(1);
  assert.deepEqual(unreached.worthwhile("one", targets), targets, "one connection looks");
  assert.deepEqual(unreached.worthwhile("one", targets), [second, third], "the others do not wait with it");
  if (first !== undefined) unreached.reached("one", first);
  assert.deepEqual(unreached.worthwhile("one", targets), targets);
});

test("where all were silent all are tried, and a lone one is never left out", () => {
  const { unreached } = world();
  for (const target of targets) unreached.failed("one", silence(target));
  assert.deepEqual(unreached.worthwhile("one", targets), targets);
  assert.deepEqual(unreached.worthwhile("one", targets.slice(0, 1)), targets.slice(0, 1));
});

for (const [kind, stage] of [
  ["refused", "connect"],
  ["network", "connect"],
  ["timeout", "greeting"],
  ["closed", "ehlo"],
  ["full", "connect"],
] as const)
  test(`a target that was not silent is asked each time: ${kind} at ${stage}`, () => {
    const { unreached } = world();
    unreached.failed("one", silence(first, kind, stage));
    assert.deepEqual(unreached.worthwhile("one", targets), targets);
  });
