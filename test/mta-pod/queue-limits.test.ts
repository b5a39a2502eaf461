import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { queueWorld, type Trouble } from "./queue-world.ts";

const calm: Trouble = { lostAnswers: 0, lostWrites: 0, maxLagMs: 10 };
const rough: Trouble = { lostAnswers: 0.03, lostWrites: 0.05, maxLagMs: 150 };
const seeds = Array.from({ length: 12 }, (_, index) => index + 1);

/** Offers `perSecond` to chance's pods for so long. */
async function pour(
  world: ReturnType<typeof queueWorld>,
  { pods, perSecond, seconds }: { pods: number; perSecond: number; seconds: number },
) {
  for (let number = 0; number < perSecond * seconds; number++)
    world.after(world.chance() * seconds * 1000, () => world.offer(Math.floor(world.chance() * pods)));
  await world.run(seconds * 1000);
}

describe("a limit of queued messages over several pods", () => {
  for (const seed of seeds)
    test(`is never exceeded, whatever is late, lost or killed, and used in the end (seed ${seed})`, async () => {
      const pods = 1 + (seed % 4);
      const limit = [5, 40, 200][seed % 3] ?? 5;
      const world = queueWorld(seed, { limit, pods, trouble: rough });
      for (let round = 0; round < 5; round++) {
        for (let ms = 0; ms < 3000; ms += 20) world.after(ms, () => world.settleOne());
        if (world.chance() < 0.5) world.after(1000, () => world.moveShard(round % 3, 700));
        if (world.chance() < 0.5) world.after(1500, () => world.kill(round % pods));
        await pour(world, { pods, perSecond: 150, seconds: 3 });
      }
      // Nothing is settled any more: after some time of asking everything is used.
      await pour(world, { pods, perSecond: 50, seconds: 12 });
      await world.run(2000);
      assert.ok(world.seen.most <= limit, `${world.seen.most} were queued`);
      assert.ok(world.queued() >= limit * 0.95, `${world.queued()} of ${limit} are used`);
      assert.ok(world.seen.full > 0 && world.seen.accepted > limit, JSON.stringify(world.seen));
    });

  test("of 600 messages that come at once to three pods 200 are taken, and no more", async () => {
    const world = queueWorld(7, { limit: 200, pods: 3, trouble: calm });
    for (let number = 0; number < 600; number++) world.after(number % 50, () => world.offer(number % 3));
    await world.run(10_000);
    assert.ok(world.seen.most <= 200, `${world.seen.most}`);
    assert.ok(world.queued() >= 190, `${world.queued()} were taken`);
  });

  test("a client that keeps knocking at a full queue makes few questions, and is let in seconds after it drained", async () => {
    const world = queueWorld(9, { limit: 20, pods: 2, trouble: calm });
    await pour(world, { pods: 1, perSecond: 100, seconds: 10 });
    assert.equal(world.queued(), 20);
    const { asked } = world.seen;
    await pour(world, { pods: 1, perSecond: 100, seconds: 20 });
    assert.ok(world.seen.asked - asked <= 6, `${world.seen.asked - asked} questions`);
    for (let number = 0; number < 10; number++) world.settleOne();
    await pour(world, { pods: 1, perSecond: 100, seconds: 5 });
    assert.equal(world.queued(), 20);
    assert.ok(world.seen.most <= 20);
  });

  test("far from the limit nobody is asked, and the ledger is changed seldom", async () => {
    const world = queueWorld(8, { limit: 1_000_000, pods: 3, trouble: calm });
    await pour(world, { pods: 3, perSecond: 1000, seconds: 5 });
    assert.ok(world.seen.accepted > 4000);
    assert.equal(world.seen.asked, 3, "once for each pod that found no ledger");
    assert.ok(world.seen.claims < 60, `${world.seen.claims} changes`);
  });

  for (const seed of seeds)
    test(`that is lowered below what is queued lets nothing more in (seed ${seed})`, async () => {
      const world = queueWorld(seed, { limit: 100_000, pods: 3, trouble: calm });
      await pour(world, { pods: 3, perSecond: 500, seconds: 3 });
      if (seed % 2 === 0) await world.run(1000);
      const { accepted } = world.seen;
      world.setLimit(10);
      await pour(world, { pods: 3, perSecond: 500, seconds: 1 });
      // Of what was let in before, some 15 are on their way.
      assert.ok(
        world.seen.accepted <= accepted + (seed % 2 === 0 ? 0 : 50),
        `${world.seen.accepted - accepted}`,
      );
    });
});
