/** Random tenants, senders, peers, edits and owners: no tenant, and no sender domain, ever exceeds what a site allows it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "#test/kit/random.ts";
import type { BudgetLimits, Lane, SiteHandover, SiteLimits } from "#mta-pod/schedule/types.ts";
import { mostWithin, type Peer, World } from "./world.ts";

const tenants = ["a", "b", "c", "d"] as const;

interface Manner {
  readonly perTenant: BudgetLimits;
  readonly perSecondAndDomain?: number;
  readonly seed: number;
  /** The longest way to a new connection's MAIL, and the longest answer. */
  readonly connectMs: number;
  readonly answerMs: number;
  /** The site gets another owner that often; default never. */
  readonly handOverMs?: number;
  /** Owners die with what they have under way, and tell nothing. */
  readonly isSilent?: boolean;
}

interface Counted {
  readonly lane: Lane;
  readonly from: number;
  readonly counted: number;
  readonly to: number;
}

const totalMs = 20_000;

/** Twenty seconds of a site at which every tenant has a backlog, but for the last, which has a message now and then. */
function run(manner: Manner): Counted[] {
  const chance = random(manner.seed);
  const upTo = (most: number): number => Math.ceil(chance() * most);
  const limits: SiteLimits = {
    connections: 200,
    perTenant: manner.perTenant,
    ...(manner.perSecondAndDomain === undefined
      ? {}
      : { perSenderDomain: { messagesPerSecond: manner.perSecondAndDomain } }),
  };
  const peer: Peer = {
    reaches: ({ connection }) => upTo(connection === "open" ? manner.connectMs : 10),
    // How long the way is, is learnt from the quickest of ten answers: most are quick (peer-count.ts).
    takes: () => upTo(chance() < 0.8 ? Math.min(20, manner.answerMs) : manner.answerMs),
    ends: () => ({ feedback: "good", connection: chance() < 0.1 ? "closed" : "kept" }),
  };
  const owner = (now: number): World => {
    const world = new World();
    world.now = now;
    Object.assign(world.peer, peer);
    world.tenants({ a: 1, b: 5, c: 1, d: 1 });
    return world;
  };
  const fill = (world: World, count: number): void => {
    for (let index = 0; index < count; index++)
      for (const tenant of tenants)
        if (tenant !== "d" || index === 0)
          world.add({
            tenant,
            class: chance() < 0.5 ? "transactional" : "bulk",
            ...(manner.perSecondAndDomain === undefined
              ? {}
              : { senderDomain: chance() < 0.1 ? "" : `${tenant}${upTo(3)}.example` }),
          });
  };
  const seen: Counted[] = [];
  let world = owner(new World().now);
  world.site("s", limits);
  const backlog = Math.max(200, 25 * (manner.perTenant.messagesPerSecond ?? 20));
  fill(world, backlog);
  let handOverAt = manner.handOverMs ?? totalMs + 1;
  for (let elapsed = 0; elapsed < totalMs; elapsed += 250) {
    world.run(250);
    if (chance() < 0.3) fill(world, 1);
    if (elapsed < handOverAt) continue;
    handOverAt = elapsed + upTo(manner.handOverMs ?? totalMs);
    if (manner.isSilent !== true) {
      // What is under way ends at the former owner, as a successor leaves it alone.
      world.scheduler.setSources([], world.now);
      world.run(manner.connectMs + manner.answerMs + 600);
    }
    const told = world.scheduler.handOver("s", world.now) ?? assert.fail();
    seen.push(...countedBy(world));
    const next = owner(world.now);
    // Sometimes the record comes before the site's limits are known.
    const isEarly = chance() < 0.5;
    if (!isEarly) next.site("s", limits);
    const record = manner.isSilent === true ? silence(told, world.now) : JSON.parse(JSON.stringify(told));
    next.scheduler.restore(record, world.now, world.now);
    if (isEarly) next.site("s", limits);
    fill(next, backlog);
    world = next;
  }
  world.run(0);
  return [...seen, ...countedBy(world)];
}

function silence({ site, sources }: SiteHandover, spentAt: number): SiteHandover {
  const nothing = { open: 0, pausedUntil: 0, nextMessageAt: 0, nextConnectionAt: 0 };
  return { site, backoffUntil: 0, sources: sources.map(({ source }) => ({ source, ...nothing, spentAt })) };
}

/** What was to be sent later died with its owner. */
function countedBy(world: World): Counted[] {
  const sent = world.mailed.filter(({ at }) => at <= world.now);
  return sent.map(({ at, counted, dispatch }) => ({
    lane: dispatch.lane,
    from: at,
    counted,
    to: 2 * counted - at,
  }));
}

function mostAtOnce(mails: readonly Counted[]): number {
  const changes = mails.flatMap(({ from, to }) => [
    { at: from, by: 1 },
    { at: to, by: -1 },
  ]);
  changes.sort((one, other) => one.at - other.at || one.by - other.by);
  let open = 0;
  return changes.reduce((most, { by }) => Math.max(most, (open += by)), 0);
}

function checkRate(mails: readonly Counted[], perSecond: number, who: string): void {
  const times = mails.map(({ counted }) => counted).sort((one, other) => one - other);
  const count = Math.max(1, Math.floor(perSecond));
  const spanMs = (1000 * count) / perSecond;
  const most = mostWithin(times, spanMs);
  assert.ok(most <= count, `${most} of ${who} in ${spanMs} ms, ${count} allowed`);
}

function check(manner: Manner): Counted[] {
  const all = run(manner);
  const { connections, messagesPerSecond } = manner.perTenant;
  for (const tenant of tenants) {
    const mails = all.filter(({ lane }) => lane.tenant === tenant);
    if (messagesPerSecond !== undefined) checkRate(mails, messagesPerSecond, tenant);
    if (connections !== undefined)
      assert.ok(mostAtOnce(mails) <= connections, `${mostAtOnce(mails)} of ${tenant} at once`);
    if (manner.perSecondAndDomain === undefined) continue;
    for (const [domain, some] of Map.groupBy(mails, ({ lane }) => lane.senderDomain ?? "untold"))
      checkRate(some, manner.perSecondAndDomain, `${tenant} ${domain}`);
  }
  return all;
}

const seeds = [1, 2, 3, 4];

for (const messagesPerSecond of [0.4, 1, 3, 20, 150])
  for (const connectMs of [10, 400])
    test(`${messagesPerSecond}/s per tenant, ${connectMs} ms to connect`, (t) => {
      for (const seed of seeds) {
        const all = check({ perTenant: { messagesPerSecond }, seed, connectMs, answerMs: 20 });
        const shares = (["a", "b", "c"] as const).map(
          (name) =>
            all.filter(({ lane }) => lane.tenant === name).length / (messagesPerSecond * (totalMs / 1000)),
        );
        t.diagnostic(`used by each: ${shares.map((share) => `${(100 * share).toFixed(0)} %`).join(", ")}`);
        // One that waits for a new connection leaves its moment unused.
        const least = connectMs > 100 && messagesPerSecond < 2 ? 0.75 : 0.85;
        for (const share of shares) assert.ok(share >= least, `${share} of the rate is used`);
      }
    });

test("answers that come late cost rate, and never too much is counted", () => {
  for (const messagesPerSecond of [1, 5, 30])
    for (const seed of seeds)
      check({ perTenant: { messagesPerSecond }, seed, connectMs: 300, answerMs: 900 });
});

test("connections per tenant", (t) => {
  for (const connections of [1, 2, 7])
    for (const seed of seeds) {
      const all = check({ perTenant: { connections }, seed, connectMs: 30, answerMs: 200 });
      const ofA = all.filter(({ lane }) => lane.tenant === "a");
      t.diagnostic(`${mostAtOnce(ofA)} of ${connections} used`);
      assert.equal(mostAtOnce(ofA), connections);
    }
});

test("rates per tenant and per sender domain at once", () => {
  for (const seed of seeds)
    check({
      perTenant: { messagesPerSecond: 12, connections: 3 },
      perSecondAndDomain: 5,
      seed,
      connectMs: 200,
      answerMs: 100,
    });
});

for (const messagesPerSecond of [0.4, 3, 20])
  test(`${messagesPerSecond}/s per tenant and domain, from one owner to the next`, () => {
    for (const seed of [...seeds, 5, 6, 7, 8])
      check({
        perTenant: { messagesPerSecond, connections: 4 },
        perSecondAndDomain: messagesPerSecond / 2,
        seed,
        connectMs: 60,
        answerMs: 60,
        handOverMs: 3000,
      });
  });

for (const messagesPerSecond of [0.4, 3, 20])
  test(`${messagesPerSecond}/s per tenant and domain, from one that died without a word to the next`, () => {
    for (const seed of [...seeds, 5, 6, 7, 8])
      check({
        perTenant: { messagesPerSecond },
        perSecondAndDomain: messagesPerSecond / 2,
        seed,
        connectMs: 60,
        answerMs: 60,
        handOverMs: 3000,
        isSilent: true,
      });
  });
