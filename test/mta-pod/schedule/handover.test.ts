import assert from "node:assert/strict";
import { test } from "node:test";
import { mostWithin, start, World } from "./world.ts";

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

test("what was answered late goes along: the peer may have counted it just now", () => {
  const { old, fresh } = pair();
  const limits = { connections: 1, messagesPerSecond: 4 };
  for (const world of [old, fresh]) {
    world.site("s", limits);
    world.peer.reaches = () => 0;
    world.peer.takes = () => (world === old && world.mailed.length === 0 ? 7_000 : 10);
  }
  old.run(7_300);
  const handover = old.scheduler.snapshot("s");
  assert.ok(handover);
  fresh.now = old.now;
  const sources = handover.sources.map((one) => ({ ...one, open: 0 }));
  fresh.scheduler.restore({ ...handover, sources }, 0, fresh.now);
  fresh.run(3_000);
  const times = [...old.mailed, ...fresh.mailed].map(({ at, counted }, place) =>
    place === 0 ? at + 7_000 : counted,
  );
  assert.equal(mostWithin(times, 1000), 4, times.map((at) => at - start).join(" "));
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

const budgeted = { connections: 10, perTenant: { connections: 2, messagesPerSecond: 1 } };

/** An owner that has sent one message of `a` and has a second under way, and its successor with mail of `a` and `b`. */
function budgetedPair() {
  const { old, fresh } = pair();
  old.site("s", budgeted);
  old.done(old.dispatch());
  old.now += 1031;
  old.dispatch();
  fresh.now = old.now;
  fresh.tenants({ a: 1, b: 1 });
  for (let index = 0; index < 10; index++) fresh.add({ tenant: "b" });
  return { old, fresh, told: old.scheduler.handOver("s", old.now) ?? assert.fail() };
}

function tenantsThatGo(world: World): string[] {
  const went: string[] = [];
  for (let step = world.next(); step.kind === "dispatch"; step = world.next())
    went.push(step.dispatch.lane.tenant);
  return went;
}

test("what a tenant has spent and has open at a site goes along, and others owe nothing for it", () => {
  for (const isEarly of [true, false]) {
    const { fresh, told } = budgetedPair();
    assert.deepEqual(JSON.parse(JSON.stringify(told)), told);
    if (!isEarly) fresh.site("s", budgeted);
    fresh.scheduler.restore(told, fresh.now + 60_000, fresh.now);
    if (isEarly) fresh.site("s", budgeted);
    assert.deepEqual(tenantsThatGo(fresh), ["b"]);
    assert.deepEqual(fresh.next(), { kind: "sleep", ms: 1031 });
    fresh.now += 1031;
    assert.deepEqual(tenantsThatGo(fresh).toSorted(), ["a", "b"]);
    fresh.now += 1031;
    assert.deepEqual(
      tenantsThatGo(fresh),
      [],
      "one of a's connections is still the former owner's, two are b's",
    );
    assert.equal(fresh.scheduler.bindingOf({ site: "s", tenant: "a" }), "perTenant.connections");
    fresh.scheduler.forgetFormer("s", fresh.now);
    assert.deepEqual(tenantsThatGo(fresh), ["a"]);
  }
});

test("of a former release's record every tenant is taken to have spent just now, and to have all that is open", () => {
  const { fresh, told } = budgetedPair();
  const { budgets: _, ...before } = told;
  fresh.scheduler.restore(
    { ...before, sources: before.sources.map((one) => ({ ...one, open: 1 })) },
    fresh.now + 60_000,
    fresh.now,
  );
  fresh.site("s", budgeted);
  assert.deepEqual(tenantsThatGo(fresh), []);
  fresh.now += 1031 + 100;
  assert.deepEqual(tenantsThatGo(fresh).toSorted(), ["a", "b"]);
  fresh.now += 1031;
  assert.deepEqual(tenantsThatGo(fresh), []);
  assert.equal(fresh.scheduler.siteState("s").binding, "perTenant.connections");
  fresh.scheduler.forgetFormer("s", fresh.now);
  assert.deepEqual(tenantsThatGo(fresh).toSorted(), ["a", "b"]);
});

test("after an owner that told nothing each tenant waits out its interval, and its last connections count for every tenant", () => {
  const { fresh, told } = budgetedPair();
  const silent = {
    site: "s",
    backoffUntil: 0,
    sources: told.sources.map(({ source }) => ({
      source,
      open: 0,
      lingering: 1,
      lingeringUntil: fresh.now + 60_000,
      pausedUntil: 0,
      nextMessageAt: 0,
      nextConnectionAt: 0,
      spentAt: fresh.now - 500,
    })),
  };
  fresh.scheduler.restore(silent, 0, fresh.now);
  fresh.site("s", budgeted);
  assert.deepEqual(tenantsThatGo(fresh), []);
  fresh.now += 531 + 100;
  assert.deepEqual(tenantsThatGo(fresh).toSorted(), ["a", "b"]);
  fresh.now += 5000;
  assert.deepEqual(tenantsThatGo(fresh), []);
  assert.equal(fresh.scheduler.handOver("s", fresh.now)?.budgets?.othersSpentAt, silent.sources[0]?.spentAt);
  fresh.now += 60_000;
  assert.deepEqual(tenantsThatGo(fresh).toSorted(), ["a", "b"]);
});

test("an owner in between hands on what it was told and did not use", () => {
  const { old, fresh, told } = budgetedPair();
  fresh.site("s", budgeted);
  fresh.scheduler.restore(told, fresh.now + 60_000, fresh.now);
  const on = fresh.scheduler.handOver("s", fresh.now)?.budgets?.told ?? assert.fail();
  assert.deepEqual(on, told.budgets?.told);
  assert.deepEqual(on, [{ kind: "perTenant", name: "a", busy: 1, nextMessageAt: on[0]?.nextMessageAt }]);
  assert.ok((on[0]?.nextMessageAt ?? 0) > old.now + 1030);
  const { budgets: _, ...before } = told;
  const third = budgetedPair().fresh;
  third.scheduler.restore(
    { ...before, sources: before.sources.map((one) => ({ ...one, open: 2 })) },
    third.now + 60_000,
    third.now,
  );
  const { anybodys, othersSpentAt } = third.scheduler.handOver("s", third.now)?.budgets ?? assert.fail();
  assert.deepEqual([anybodys, othersSpentAt], [2, third.now]);
});
