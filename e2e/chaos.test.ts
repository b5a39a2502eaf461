/** A short `npm run chaos` with a fixed seed: kills, freezes, cuts and NATS faults at random; every id audited. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runChaos } from "./kit/chaos-run.ts";

test("npm run chaos --minutes 1.2 --seed 6: nothing lost, no limit exceeded, doubles only of what was open", async (t) => {
  const page = await runChaos(t, ["--minutes", "1.2", "--seed", "6"]);
  assert.match(page, /\nshown: \d+ kills among \d+ faults, nothing lost/);
});
