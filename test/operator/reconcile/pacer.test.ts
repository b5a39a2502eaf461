/** When a compile is begun, by the clock alone: edits, what is new, and both at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPacer } from "#operator/reconcile/pacer.ts";
import { manualClock, settle } from "#test/operator/kube/kit.ts";

function world() {
  const clock = manualClock();
  const runs: string[] = [];
  const state = { isFilling: false };
  const startedAt = clock.monotonic();
  const pacer = createPacer({
    clock,
    run: async (takesNew) => void runs.push(`${clock.monotonic() - startedAt} ${takesNew ? "all" : "edits"}`),
    isFilling: () => state.isFilling,
  });
  /** Time goes by in steps of 50 ms, at each of which `each` is done. */
  const pass = async (ms: number, each: () => void = () => {}): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) {
      each();
      clock.advance(50);
      await settle(2);
    }
  };
  return { pacer, runs, state, pass };
}

test("an edit is compiled at once, the next ones together after 250 quiet ms, 1 s at most", async () => {
  const { pacer, runs, pass } = world();
  pacer.touch("edit");
  await pass(50);
  await pass(2000, () => pacer.touch("edit"));
  await pass(500);
  assert.deepEqual(runs, ["0 all", "1050 all", "2050 all"]);
});

test("while many arrive they are taken in every 20 s; an edit between them is compiled without them, at once", async () => {
  const { pacer, runs, state, pass } = world();
  state.isFilling = true;
  const arrive = (): void => pacer.touch("arrival");
  await pass(10_000, arrive);
  assert.deepEqual(runs, []);
  pacer.touch("edit");
  await pass(10_100, arrive);
  assert.deepEqual(runs, ["10000 edits", "20000 all"]);
});

test("many that stop arriving are taken in after a quiet second, and the last few like edits", async () => {
  const { pacer, runs, state, pass } = world();
  state.isFilling = true;
  await pass(500, () => pacer.touch("arrival"));
  await pass(2000);
  assert.deepEqual(runs, ["1450 all"]);
  state.isFilling = false;
  pacer.touch("arrival");
  await pass(50);
  assert.equal(runs.length, 2, runs.join());
});
