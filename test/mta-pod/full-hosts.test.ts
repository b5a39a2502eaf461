import assert from "node:assert/strict";
import { test } from "node:test";
import { createFullHosts } from "#mta-pod/full-hosts.ts";
import { World } from "./schedule/world.ts";

function world() {
  const scene = new World();
  scene.tenants({ a: 1 });
  scene.site("s", { connections: 2 });
  for (let n = 0; n < 4; n++) scene.add({ site: "s" });
  const fullHosts = createFullHosts({
    scheduler: scene.scheduler,
    clock: { now: () => scene.now, monotonic: () => scene.now },
    random: () => 0.5,
  });
  return { scene, fullHosts };
}

/** Until the site may try again, ms. */
function pauseOf({ scene }: ReturnType<typeof world>): number {
  const step = scene.next();
  return step.kind === "sleep" ? step.ms : 0;
}

test("a site whose last hosts are full is tried more and more rarely, until one gets through", () => {
  const at = world();
  const pauses: number[] = [];
  for (let n = 0; n < 8; n++) {
    at.fullHosts.comeBack(at.scene.dispatch(), "key", false);
    pauses.push(pauseOf(at));
    at.scene.now += pauses.at(-1) ?? 0;
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
  at.fullHosts.reached("key");
  at.fullHosts.comeBack(at.scene.dispatch(), "key", false);
  assert.equal(pauseOf(at), 500);
  assert.equal(at.scene.scheduler.siteState("s").open, 0);
});

test("attempts that found them full at the same time are one reason to wait longer", () => {
  const at = world();
  const both = [at.scene.dispatch(), at.scene.dispatch()];
  for (const dispatch of both) at.fullHosts.comeBack(dispatch, "key", false);
  assert.equal(pauseOf(at), 500);
  at.scene.now += 500;
  at.fullHosts.comeBack(at.scene.dispatch(), "key", false);
  assert.equal(pauseOf(at), 1000);
});

test("where the site has other hosts only the entry waits", () => {
  const { scene, fullHosts } = world();
  fullHosts.comeBack(scene.dispatch(), "key", true);
  assert.equal(scene.next().kind, "dispatch");
  assert.equal(scene.scheduler.list({}, 10).filter(({ state }) => state === "waiting").length, 1);
});
