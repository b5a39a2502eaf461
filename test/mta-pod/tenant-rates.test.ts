import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import { createCells } from "#mta-pod/spool/cells.ts";
import { createTenantRates, type Rated } from "#mta-pod/tenant-rates.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats[Symbol.asyncDispose]());

/** A wall clock that stands where it is set, beside the machine's monotonic one. */
class StillClock {
  wall = 1_800_000_000_000;
  now = (): number => this.wall;
  monotonic = (): number => systemClock.monotonic();
}

const rate = { perSecond: 10, burst: 20 };

async function startPod(pool: string, pod: string, clock: StillClock) {
  const spool = await startTestSpool(nats.url, { pool, pod });
  const rates = createTenantRates({ cells: createCells(spool), clock });
  return {
    rates,
    take: (tenant = "mail/acme") => new Promise<Rated>((resolve) => rates.take(tenant, rate, resolve)),
    [Symbol.asyncDispose]: () => spool.close(),
  };
}

const countOf = (all: readonly Rated[]): number => all.filter(({ kind }) => kind === "taken").length;

test("a client of one pod alone has the whole burst, then not one more", async () => {
  await using a = await startPod("mail/r1", "pod-0", new StillClock());
  await using _b = await startPod("mail/r1", "pod-1", new StillClock());
  let taken = 0;
  for (let index = 0; index < 30; index++) if ((await a.take()).kind === "taken") taken++;
  assert.equal(taken, 20);
  const over = await a.take();
  assert.ok(over.kind === "over" && over.waitMs > 0 && over.waitMs <= 100, JSON.stringify(over));
});

test("pods that take at the same time share one bucket exactly, and tenants do not share any", async () => {
  const clock = new StillClock();
  await using a = await startPod("mail/r2", "pod-0", clock);
  await using b = await startPod("mail/r2", "pod-1", clock);
  await using c = await startPod("mail/r2", "pod-2", clock);
  const pods = [a, b, c];
  const all = Array.from({ length: 90 }, (_, index) => (pods[index % 3] ?? a).take());
  assert.equal(countOf(await Promise.all(all)), 20);
  assert.equal((await b.take("mail/other")).kind, "taken");
});

test("a second later a second's worth is there again, for whichever pod comes", async () => {
  const clock = new StillClock();
  await using a = await startPod("mail/r3", "pod-0", clock);
  await using b = await startPod("mail/r3", "pod-1", clock);
  assert.equal(countOf(await Promise.all(Array.from({ length: 25 }, () => a.take()))), 20);
  clock.wall += 1000;
  assert.equal(countOf(await Promise.all(Array.from({ length: 25 }, () => b.take()))), 10);
});

test("whoever knocks again is told how long it really takes, not how long the answer is remembered", async () => {
  await using a = await startPod("mail/r5", "pod-0", new StillClock());
  const slow = { perSecond: 1 / 60, burst: 1 };
  const take = (): Promise<Rated> => new Promise((done) => a.rates.take("mail/acme", slow, done));
  assert.equal((await take()).kind, "taken");
  for (let index = 0; index < 3; index++) {
    const over = await take();
    assert.ok(over.kind === "over" && over.waitMs > 50_000 && over.waitMs <= 60_000, JSON.stringify(over));
  }
});

test("what is given back can be taken again", async () => {
  const clock = new StillClock();
  await using a = await startPod("mail/r4", "pod-0", clock);
  await using b = await startPod("mail/r4", "pod-1", clock);
  assert.equal(countOf(await Promise.all(Array.from({ length: 20 }, () => a.take()))), 20);
  const began = clock.wall;
  a.rates.giveBack("mail/acme", rate);
  // Its own change goes first: a pod's questions about one tenant are answered in turn by the leader. No token grows meanwhile.
  await until("the token that was given back", async () => {
    clock.wall = Math.min(clock.wall + 1, began + 1000 / rate.perSecond - 1);
    return (await b.take()).kind === "taken";
  });
});
