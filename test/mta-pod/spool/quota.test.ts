import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { systemClock } from "#mta-pod/runtime/clock.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { createQuotas, type Quotas, type Taken } from "#mta-pod/spool/quota.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool } from "#test/kit/spool.ts";

let nats: TestNats;
before(async () => {
  nats = await startTestNats();
});
after(() => nats[Symbol.asyncDispose]());

const noon = Date.UTC(2026, 5, 1, 12);
const dayMs = 86_400_000;

interface QuotaPod extends AsyncDisposable {
  readonly quotas: Quotas;
  take(limit: number, tenant?: string): Promise<Taken>;
}

/** A wall clock that stands where it is set, beside the machine's monotonic one. */
class StillClock {
  wall = noon;
  now = (): number => this.wall;
  monotonic = (): number => systemClock.monotonic();
}

async function startPod(
  url: string,
  pool: string,
  { pod = "pod-0", pods = 1, clock = new StillClock() } = {},
): Promise<QuotaPod> {
  const spool = await startTestSpool(url, { pool, pod, clock });
  const quotas = createQuotas({ spool, pods: () => pods });
  return {
    quotas,
    take: (limit, tenant = "mail/acme") => new Promise((resolve) => quotas.take(tenant, limit, resolve)),
    [Symbol.asyncDispose]: () => spool.close(),
  };
}

const countOf = (all: readonly Taken[]): number => all.filter(({ kind }) => kind === "taken").length;

test("three pods that take at once grant the quota, not one more, and nearly all of it", async () => {
  const pool = "mail/q1";
  const limit = 500;
  await using a = await startPod(nats.url, pool, { pod: "pod-0", pods: 3 });
  await using b = await startPod(nats.url, pool, { pod: "pod-1", pods: 3 });
  await using c = await startPod(nats.url, pool, { pod: "pod-2", pods: 3 });
  const taking = Array.from({ length: 900 }, (_, index) => ([a, b, c][index % 3] ?? a).take(limit));
  const granted = countOf(await Promise.all(taking));
  assert.ok(granted <= limit, `${granted} of ${limit}`);
  assert.ok(granted >= limit * 0.95, `${granted} of ${limit}`);
});

test("a claim that others always were faster than goes on until it is its turn", async () => {
  const pool = "mail/q0";
  await using other = await startTestSpool(nats.url, { pool, pod: "pod-1" });
  await using spool = await startTestSpool(nats.url, { pool, pod: "pod-0", clock: new StillClock() });
  let overtaken = 0;
  const slow: Spool = {
    ...spool,
    async ask(request) {
      // Between its reading and its writing another pod claims.
      const { subject, payload } = request;
      if (subject.startsWith("$KV.") && overtaken++ < 30)
        await other.ask({ subject, payload, timeoutMs: 2_000 });
      return spool.ask(request);
    },
  };
  const quotas = createQuotas({ spool: slow, pods: () => 1 });
  const taken = await new Promise<Taken>((resolve) => quotas.take("mail/acme", 100_000, resolve));
  assert.equal(taken.kind, "taken");
  assert.ok(overtaken > 30, `${overtaken}`);
});

test("a pod that is killed loses what it had claimed, and its next self grants none of that again", async () => {
  const pool = "mail/q2";
  const limit = 100;
  let granted = 0;
  for (let life = 0; life < 4; life++) {
    await using pod = await startPod(nats.url, pool);
    const taken = await Promise.all(Array.from({ length: 5 }, () => pod.take(limit)));
    granted += countOf(taken);
  }
  await using last = await startPod(nats.url, pool);
  granted += countOf(await Promise.all(Array.from({ length: 200 }, () => last.take(limit))));
  assert.ok(granted <= limit && granted >= 20, `${granted}`);
});

test("close() gives back what was claimed, giveBack() what was taken, for its own day only", async () => {
  const pool = "mail/q3";
  const limit = 100;
  const clock = new StillClock();
  await using first = await startPod(nats.url, pool);
  assert.deepEqual(await first.take(limit), { kind: "taken", day: noon / dayMs - 0.5 });
  await first.quotas.close();
  await using second = await startPod(nats.url, pool, { clock });
  assert.equal(countOf(await Promise.all(Array.from({ length: 200 }, () => second.take(limit)))), 99);
  second.quotas.giveBack("mail/acme", noon / dayMs - 0.5);
  assert.equal((await second.take(limit)).kind, "taken");
  assert.equal((await second.take(limit)).kind, "used-up");
  clock.wall += dayMs;
  assert.equal(countOf(await Promise.all(Array.from({ length: 200 }, () => second.take(limit)))), 100);
  second.quotas.giveBack("mail/acme", noon / dayMs - 0.5);
  assert.equal((await second.take(limit)).kind, "used-up");
});

test("what a pod does not use goes back by itself, so that another can", async () => {
  const pool = "mail/q4";
  await using idle = await startPod(nats.url, pool);
  await using busy = await startPod(nats.url, pool, { pod: "pod-1" });
  assert.equal((await idle.take(40)).kind, "taken");
  let granted = 1;
  await eventually(
    "the whole quota to be granted",
    async () => {
      granted += countOf(await Promise.all(Array.from({ length: 40 }, () => busy.take(40))));
      return granted >= 40;
    },
    15_000,
  );
  assert.equal(granted, 40);
});

test("without NATS a pod grants what it has claimed, and then says that it does not know", async () => {
  await using own = await startTestNats();
  await using pod = await startPod(own.url, "mail/q5");
  assert.equal((await pod.take(80)).kind, "taken");
  await own.kill();
  const kinds = (await Promise.all(Array.from({ length: 30 }, () => pod.take(80)))).map(({ kind }) => kind);
  assert.deepEqual(
    [kinds.filter((kind) => kind === "taken").length, kinds.filter((kind) => kind === "unavailable").length],
    [19, 11],
  );
});

test("tenants do not share a counter, and a limit that grows is granted", async () => {
  await using pod = await startPod(nats.url, "mail/q6");
  assert.equal((await pod.take(1, "mail/a")).kind, "taken");
  assert.equal((await pod.take(1, "mail/a")).kind, "used-up");
  assert.equal((await pod.take(1, "mail/b")).kind, "taken");
  await eventually("the larger limit", async () => (await pod.take(2, "mail/a")).kind === "taken");
});

test("of a block that was claimed before the limit was lowered no more is granted than the lower one leaves", async () => {
  await using pod = await startPod(nats.url, "mail/q7");
  assert.equal((await pod.take(10_000)).kind, "taken");
  const lower = await Promise.all(Array.from({ length: 50 }, () => pod.take(20)));
  assert.equal(countOf(lower), 19);
});

test("of a block that is being claimed when the limit is lowered, neither", async () => {
  await using spool = await startTestSpool(nats.url, { pool: "mail/q8", clock: new StillClock() });
  const lower: Promise<Taken>[] = [];
  const take = (limit: number): Promise<Taken> =>
    new Promise((resolve) => quotas.take("mail/acme", limit, resolve));
  const lowering: Spool = {
    ...spool,
    ask(request) {
      if (request.subject.startsWith("$KV.") && lower.length === 0)
        for (let count = 0; count < 50; count++) lower.push(take(20));
      return spool.ask(request);
    },
  };
  const quotas = createQuotas({ spool: lowering, pods: () => 1 });
  const first = await take(10_000);
  assert.equal(countOf([first, ...(await Promise.all(lower))]), 20);
});
