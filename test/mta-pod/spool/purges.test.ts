import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { idHashOf } from "#crds/wire/state-record.ts";
import { callApi } from "#mta-pod/spool/api.ts";
import { createBundles } from "#mta-pod/spool/bundles.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { createPublisher } from "#mta-pod/spool/publisher.ts";
import { createPurges } from "#mta-pod/spool/purges.ts";
import { createStates } from "#mta-pod/spool/states.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

const body = Buffer.from("Subject: x\r\n\r\nhello\r\n");

interface Kept {
  readonly tenant: string;
  readonly seq: number;
}

/** Stores an entry of each tenant in turn. */
async function fill(spool: TestSpool, shard: number, tenants: readonly string[]): Promise<Kept[]> {
  const publisher = createPublisher(spool);
  const kept: Kept[] = [];
  for (const [index, tenant] of tenants.entries()) {
    const sent = envelope({ id: `${shard}e${index}`, tenant, size: body.length });
    const seq = await new Promise<number>((resolve, reject) =>
      publisher.store({ shard, envelope: sent, body }, (stored) => {
        if (stored.kind === "stored") resolve(stored.seq);
        else reject(new Error(stored.reason));
      }),
    );
    kept.push({ tenant, seq });
  }
  await publisher.close();
  return kept;
}

/** As if these had been deferred. */
async function defer(spool: TestSpool, shard: number, seqs: readonly number[]): Promise<void> {
  const states = createStates(spool);
  const lease = await spool.ask({
    subject: spool.names.leaseSubject(shard),
    payload: "owner",
    timeoutMs: 5_000,
  });
  assert.ok(lease.kind === "answer");
  const { seq: leaseSeq } = JSON.parse(lease.message.data.toString()) as { seq: number };
  const record = { attempt: 1, due: 1_700_000_000_000, open: [0], idHash: idHashOf("a"), last: "450 later" };
  const written = await Promise.all(seqs.map((seq) => states.write(shard, seq, { record, leaseSeq })));
  assert.deepEqual(new Set(written.map(({ kind }) => kind)), new Set(["written"]));
}

/** Numbers of stored messages: of the entries of each tenant, and the sequences that have a state. */
async function stored(spool: TestSpool, shard: number, tenants: readonly string[]): Promise<unknown> {
  const info = await callApi(spool, {
    subject: `STREAM.INFO.${spool.names.shardStream(shard)}`,
    body: { subjects_filter: ">" },
  });
  assert.ok(info.kind === "ok");
  const { subjects } = info.value["state"] as { subjects: Record<string, number> };
  const under = (filter: string): [string, number][] =>
    Object.entries(subjects).filter(([subject]) => subject.startsWith(filter.replace(/[*>]$/, "")));
  const states = under(spool.names.stateFilter(shard)).map(([subject]) => Number(subject.split(".").at(-1)));
  const entries = tenants.map((tenant) =>
    under(spool.names.entryFilter(shard, tenant)).reduce((sum, [, count]) => sum + count, 0),
  );
  return { entries, states: states.toSorted((a, b) => a - b) };
}

describe("createPurges()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("takes the one tenant's entries up to a sequence, and the states that it is told of; nothing else, and of no other shard", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/purge" });
    const tenants = ["mail/gone", "mail/stays"] as const;
    const order = Array.from({ length: 12 }, (_, index) => tenants[index % 2] ?? "");
    const [first, other] = [await fill(spool, 0, order), await fill(spool, 1, order)];
    const seqsOf = (kept: readonly Kept[], tenant: string): number[] =>
      kept.flatMap((one) => (one.tenant === tenant ? [one.seq] : []));
    const gone = seqsOf(first, "mail/gone");
    const stays = seqsOf(first, "mail/stays");
    // Every entry but the first two has been deferred.
    await defer(spool, 0, [...gone.slice(1), ...stays.slice(1)]);
    await defer(spool, 1, seqsOf(other, "mail/gone"));
    // What came after the index was asked stays, and is purged another time.
    const upTo = gone[4] ?? 0;
    const purges = createPurges(spool, createBundles());
    assert.equal(await purges.purge({ shard: 0, tenant: "mail/gone", from: 1, upTo }), true);
    assert.deepEqual(await stored(spool, 0, tenants), {
      entries: [1, 6],
      states: [...gone.slice(1), ...stays.slice(1)].toSorted((a, b) => a - b),
    });
    assert.equal(await purges.dropStates(0, gone.slice(0, 5)), 5, "one that has none counts as dropped");
    assert.deepEqual(await stored(spool, 0, tenants), {
      entries: [1, 6],
      states: [...stays.slice(1), ...gone.slice(5)].toSorted((a, b) => a - b),
    });
    assert.deepEqual(await stored(spool, 1, tenants), {
      entries: [6, 6],
      states: seqsOf(other, "mail/gone"),
    });
  });

  test("a long stretch goes in several calls, since mail of others waits for each; the first that fails is the last", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/steps" });
    const [kept] = await fill(spool, 0, ["mail/gone", "mail/stays"]);
    const bounds: unknown[] = [];
    const counting: Spool = {
      ...spool,
      async ask(request) {
        bounds.push((JSON.parse(String(request.payload)) as { seq: unknown }).seq);
        return bounds.length > 4 ? { kind: "none", reason: "timeout" } : spool.ask(request);
      },
    };
    const purges = createPurges(counting, createBundles());
    const whole = { shard: 0, tenant: "mail/gone", from: kept?.seq ?? 0, upTo: 60_000 };
    assert.equal(await purges.purge(whole), true);
    assert.deepEqual(bounds, [25_001, 50_001, 60_001]);
    assert.deepEqual(await stored(spool, 0, ["mail/gone", "mail/stays"]), { entries: [0, 1], states: [] });
    assert.equal(await purges.purge(whole), false);
    assert.equal(bounds.length, 5);
  });

  test("states go a few at a time, whatever is asked at once", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bounded" });
    const seqs = Array.from({ length: 200 }, (_, index) => index + 1000);
    for (const shard of [0, 1]) await defer(spool, shard, seqs);
    let underWay = 0;
    let most = 0;
    const counting: Spool = {
      ...spool,
      async ask(request) {
        most = Math.max(most, ++underWay);
        return spool.ask(request).finally(() => underWay--);
      },
    };
    const purges = createPurges(counting, createBundles());
    assert.deepEqual(await Promise.all([0, 1].map((shard) => purges.dropStates(shard, seqs))), [200, 200]);
    assert.ok(most > 1 && most <= 32, `${most} under way`);
    for (const shard of [0, 1]) assert.deepEqual(await stored(spool, shard, []), { entries: [], states: [] });
  });

  test("after a lost connection the rest is left to the next owner: a sequence may be another entry's by then", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/away" });
    const seqs = Array.from({ length: 200 }, (_, index) => index + 1000);
    await defer(spool, 0, seqs);
    const listeners = new Set<() => void>();
    let asked = 0;
    const failing: Spool = {
      ...spool,
      onReconnect(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      async ask(request) {
        if (++asked === 50) for (const listener of listeners) listener();
        return spool.ask(request);
      },
    };
    const dropped = await createPurges(failing, createBundles()).dropStates(0, seqs);
    assert.ok(dropped >= 50 && dropped < 100, `${dropped} dropped`);
    assert.deepEqual(await stored(spool, 0, []), { entries: [], states: seqs.slice(dropped) });
    assert.equal(listeners.size, 0, "nobody listens when it is over");
  });
});
