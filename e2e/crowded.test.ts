/** Sites that take mail and answer nothing: what is under way to them may not fill their pod, so that others' mail goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { startScene } from "./kit/scene.ts";

const silent = 3;
/** Of these a pod holds 11 at once. */
const bytes = 24_000_000;
const toEach = 4;

test("large mail to sites that fall silent does not hold up another site's mail", async (t) => {
  await using scene = await startScene({ pods: 1, sites: silent + 1 });
  for (let place = 0; place < silent; place++) scene.sink.hold(place);
  const large = scene.load({
    messages: silent * toEach,
    bytes,
    connections: 2,
    domains: scene.domains.slice(0, silent),
    prefix: "large",
  });
  await large.done;
  await until(
    "each of them to be busy",
    async () => Number((await scene.status(0))?.inFlight) >= 2 * silent,
    60_000,
  );
  const waits: number[] = [];
  for (let number = 0; number < 10; number++) {
    const from = performance.now();
    const small = scene.load({
      messages: 1,
      connections: 1,
      domains: scene.domains.slice(silent),
      prefix: `small${number}-`,
    });
    await small.done;
    const [id = ""] = small.accepted.keys();
    await until("the small one", () => scene.sink.arrivals.has(id), 10_000);
    waits.push(Math.round(performance.now() - from));
  }
  t.diagnostic(
    `beside ${(await scene.status(0))?.inFlight} of 24 MB under way: delivered after ${waits.join(", ")} ms`,
  );
  // Without shares: as long as the others stay silent. A pod that takes in and sends 24 MB at a time is slow for a moment.
  assert.ok(Math.max(...waits) < 5000, waits.join(", "));
  for (let place = 0; place < silent; place++) scene.sink.release(place);
  await scene.drained([large], 180_000);
  const audit = assertNoneLost(t, [large], scene.sink);
  assert.deepEqual(audit.doubled, []);
});
