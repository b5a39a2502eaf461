import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { poolNames } from "#crds/wire/subject.ts";
import { createBundleNames } from "#mta-pod/spool/bundle-names.ts";
import { createBundles } from "#mta-pod/spool/bundles.ts";
import { createEntries } from "#mta-pod/spool/entries.ts";
import { createPublisher } from "#mta-pod/spool/publisher.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { envelope, eventually, startTestSpool, type TestSpool } from "#test/kit/spool.ts";

const names = poolNames("mail/shared");
const subject = names.entrySubject(0, "mail/acme", "s", { isForeign: false, bundle: "b1" });

describe("createBundles()", () => {
  test("takes together only what was asked for: nothing else of the subject lies below", () => {
    const seqs = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 40 });
    fc.assert(
      fc.property(seqs, seqs, fc.integer({ min: 0, max: 60 }), (stored, asked, passed) => {
        const bundles = createBundles();
        for (const seq of stored) bundles.given(0, subject, seq);
        bundles.indexed(0, () => passed);
        const { below, seqs: taken } = bundles.together(0, subject, asked);
        const gone = stored.filter((seq) => seq < below).sort((a, b) => a - b);
        assert.deepEqual(taken, gone);
        assert.ok(taken.every((seq) => asked.includes(seq) && seq <= passed));
      }),
    );
  });

  test("takes nothing of a shard that is not indexed, is forgotten, or whose subject is no bundle's", () => {
    const bundles = createBundles();
    for (const seq of [1, 2, 3]) bundles.given(0, subject, seq);
    assert.deepEqual(bundles.together(0, subject, [1, 2, 3]).seqs, []);
    bundles.indexed(0, () => 3);
    assert.deepEqual(bundles.together(0, subject, [1, 2, 3]).seqs, [1, 2, 3]);
    assert.deepEqual(bundles.together(1, subject, [1, 2, 3]).seqs, []);
    bundles.removed(0, subject, [1]);
    assert.deepEqual(bundles.together(0, subject, [1, 2]).seqs, [2]);
    bundles.forget(0);
    assert.deepEqual(bundles.together(0, subject, [2, 3]).seqs, []);
    const plain = names.entrySubject(1, "mail/acme", "s");
    bundles.given(1, plain, 1);
    bundles.indexed(1, () => 9);
    assert.deepEqual(bundles.together(1, plain, [1]).seqs, []);
  });
});

describe("createBundleNames()", () => {
  test("gives a lane the same subject for a while, never another lane's, and no name twice", () => {
    const bundleNames = createBundleNames(names);
    const lane = { shard: 1, tenant: "mail/acme", site: "s", isForeign: false };
    const seen = new Map<string, number>();
    const count = (name: string): void => void seen.set(name, (seen.get(name) ?? 0) + 1);
    for (let index = 0; index < 200; index++) count(bundleNames.subjectFor(lane));
    assert.deepEqual([...seen.values()], [64, 64, 64, 8]);
    for (const other of [{ site: "t" }, { tenant: "mail/b" }, { shard: 2 }, { isForeign: true }])
      assert.ok(!seen.has(bundleNames.subjectFor({ ...lane, ...other })));
    bundleNames.renew();
    assert.ok(!seen.has(bundleNames.subjectFor(lane)));
    assert.ok(!seen.has(createBundleNames(names).subjectFor(lane)));
  });
});

interface Stored {
  readonly id: string;
  readonly seq: number;
  readonly subject: string;
}

async function fill(spool: TestSpool, count: number): Promise<Stored[]> {
  const publisher = createPublisher(spool);
  const one = (index: number): Promise<Stored> =>
    new Promise((resolve, reject) => {
      const id = `e${index}`;
      publisher.store({ shard: 0, envelope: envelope({ id }), body: Buffer.alloc(0) }, (stored) => {
        if (stored.kind === "stored") resolve({ id, seq: stored.seq, subject: stored.subject });
        else reject(new Error(stored.reason));
      });
    });
  const stored = await Promise.all(Array.from({ length: count }, (_, index) => one(index)));
  await publisher.close();
  return stored;
}

describe("entries.remove() of bundles", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("takes away each entry that was asked for and no other, with far fewer calls than entries", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bundle", shards: 1 });
    const bundles = createBundles();
    const entries = createEntries(spool, bundles);
    const stored = await fill(spool, 1_000);
    for (const { seq, subject: name } of stored) bundles.given(0, name, seq);
    bundles.indexed(0, () => stored.length);
    const isKept = ({ seq }: Stored): boolean => seq % 97 === 0;
    const before = spool.nc.stats().outMsgs;
    const removed = await Promise.all(
      stored
        .filter((one) => !isKept(one))
        .map(
          (one) =>
            new Promise((resolve) =>
              entries.remove({ shard: 0, ...one, entry: envelope({ id: one.id }) }, resolve),
            ),
        ),
    );
    const calls = spool.nc.stats().outMsgs - before;
    assert.ok(removed.every((said) => said === "removed"));
    assert.ok(calls < 700, `${calls} calls`);
    assert.equal(entries.removing(), 0);
    const left = await Promise.all(stored.map(async (one) => (await entries.fetch(0, one.seq)).kind));
    for (const [index, one] of stored.entries()) assert.equal(left[index], isKept(one) ? "entry" : "gone");
  });

  test("goes on through a kill of the server", async () => {
    await using spool = await startTestSpool(nats.url, { pool: "t/bundle-kill", shards: 1 });
    const bundles = createBundles();
    const entries = createEntries(spool, bundles);
    const stored = await fill(spool, 3_000);
    for (const { seq, subject: name } of stored) bundles.given(0, name, seq);
    bundles.indexed(0, () => stored.length);
    const removing = stored.map(
      (one) =>
        new Promise((resolve) =>
          entries.remove({ shard: 0, ...one, entry: envelope({ id: one.id }) }, resolve),
        ),
    );
    await removing[40];
    await nats.kill();
    await nats.restart();
    await Promise.all(removing);
    await eventually("the reconnect", () => spool.connected());
    const left = await Promise.all(stored.map(async ({ seq }) => (await entries.fetch(0, seq)).kind));
    assert.deepEqual(new Set(left), new Set(["gone"]));
    assert.equal(entries.removing(), 0);
  });
});
