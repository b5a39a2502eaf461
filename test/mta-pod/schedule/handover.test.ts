import assert from "node:assert/strict";
import { test } from "node:test";
import { start, World } from "./world.ts";

function pair() {
  const [old, fresh] = [new World(), new World()];
  for (const world of [old, fresh]) {
    world.tenants({ a: 1 });
    for (let index = 0; index < 10; index++) world.add({});
  }
  return { old, fresh };
}

test("what the former owner has open counts until it is known to be gone", () => {
  const { old, fresh } = pair();
  old.site("s", { connections: 3 });
  old.dispatch();
  old.dispatch();
  const handover = old.scheduler.snapshot("s");
  assert.ok(handover);
  fresh.scheduler.restore(handover, start + 60_000, fresh.now);
  fresh.site("s", { connections: 3 });
  fresh.dispatch();
  assert.deepEqual(fresh.next(), { kind: "sleep", ms: 60_000 });
  fresh.scheduler.forgetFormer("s", fresh.now);
  fresh.dispatch();
  fresh.dispatch();
  assert.equal(fresh.next().kind, "sleep");
});

test("the former owner's connections count no longer than told", () => {
  const { old, fresh } = pair();
  old.site("s", { connections: 1 });
  old.dispatch();
  const handover = old.scheduler.snapshot("s");
  assert.ok(handover);
  fresh.site("s", { connections: 1 });
  fresh.scheduler.restore(handover, start + 60_000, fresh.now);
  assert.equal(fresh.scheduler.siteState("s").binding, "connections");
  fresh.now += 60_000;
  fresh.dispatch();
});

test("spent rates, pauses and backoff go along", () => {
  const { old, fresh } = pair();
  old.site("s", { connections: 1, messagesPerSecond: 1 });
  old.done(old.dispatch());
  const handover = old.scheduler.snapshot("s");
  assert.ok(handover);
  fresh.site("s", { connections: 1, messagesPerSecond: 1 });
  fresh.scheduler.restore(
    { ...handover, sources: handover.sources.map((one) => ({ ...one, open: 0 })) },
    0,
    fresh.now,
  );
  assert.deepEqual(fresh.next(), { kind: "sleep", ms: 1031 });
  fresh.scheduler.restore({ ...handover, backoffUntil: start + 9000, sources: [] }, 0, fresh.now);
  assert.deepEqual(fresh.next(), { kind: "sleep", ms: 9000 });
  fresh.scheduler.restore({ ...handover, backoffUntil: 0, sources: [] }, 0, fresh.now);
  assert.deepEqual(fresh.next(), { kind: "sleep", ms: 9000 }, "a late record loosens nothing");
});

test("a hand-over record survives JSON, and of an unknown site there is none", () => {
  const { old } = pair();
  old.site("s", { connections: 1 });
  old.dispatch();
  const handover = old.scheduler.snapshot("s");
  assert.deepEqual(JSON.parse(JSON.stringify(handover)), handover);
  assert.equal(old.scheduler.snapshot("nowhere"), undefined);
});
