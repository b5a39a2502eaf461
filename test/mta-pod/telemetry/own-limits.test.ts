import assert from "node:assert/strict";
import { test } from "node:test";
import { createOwnLimits } from "#mta-pod/telemetry/own-limits.ts";

function scene() {
  const world = { now: 0, told: [] as [string, string, number][] };
  const limits = createOwnLimits({ monotonic: () => world.now }, (...one) => void world.told.push(one));
  return { world, limits };
}

test("a tenant is held back from its refusal until its next message is accepted", () => {
  const { world, limits } = scene();
  limits.refused("mail/acme", "rate");
  world.now = 2500;
  limits.accepted("mail/other");
  limits.accepted("mail/acme");
  world.now = 9000;
  limits.accepted("mail/acme");
  assert.deepEqual(world.told, [["mail/acme", "rate", 2.5]]);
});

test("refused again it is held back on, by what refused it then", () => {
  const { world, limits } = scene();
  limits.refused("mail/acme", "rate");
  world.now = 1000;
  limits.refused("mail/acme", "quota");
  world.now = 4000;
  limits.accepted("mail/acme");
  assert.deepEqual(world.told, [
    ["mail/acme", "rate", 1],
    ["mail/acme", "quota", 3],
  ]);
});

test("who does not come back for an hour did not wait for an hour", () => {
  const { world, limits } = scene();
  limits.refused("mail/acme", "quota");
  world.now = 3_600_000;
  limits.accepted("mail/acme");
  assert.deepEqual(world.told, [["mail/acme", "quota", 60]]);
});

test("a flood of tenants is bounded, and the newest are known", () => {
  const { world, limits } = scene();
  for (let number = 0; number < 20_000; number++) limits.refused(`t${number}`, "rate");
  world.now = 1000;
  for (let number = 0; number < 20_000; number++) limits.accepted(`t${number}`);
  assert.equal(world.told.length, 10_000);
  assert.equal(world.told.at(-1)?.[0], "t19999");
});
