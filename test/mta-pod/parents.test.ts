import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hash32 } from "#crds/values/hash.ts";
import { idHashOf } from "#crds/wire/state-record.ts";
import { createDeliver, type DeliverDeps } from "#mta-pod/deliver.ts";
import type { Stored } from "#mta-pod/spool/publisher.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";
import { addresses, at, body, retryMs, settle, world } from "./parents-world.ts";

describe("createParents()", () => {
  test("publishes a child for each site, then deletes the parent, and nothing before", async () => {
    const { split, children, done, indexed } = world({
      to: ["a@one.example", "b@two.example", "c@one.example"],
    });
    await split();
    assert.deepEqual(
      children.map(({ messageId, envelope: child }) => [messageId, child.site, child.to]),
      [
        [`parent:0:${hash32("0,2").toString(36)}`, "one.example", ["a@one.example", "c@one.example"]],
        ["parent:1", "two.example", ["b@two.example"]],
      ],
    );
    assert.deepEqual(indexed, ["one.example", "two.example"]);
    assert.deepEqual(done, ["parent removed"]);
  });

  test("is noted as settled when its children are stored, before its delete: a delete may be forgotten, and it would be split again", async () => {
    const { split, noted } = world({ to: addresses(2) });
    await split();
    assert.deepEqual(noted, [{ id: "parent", children: 2, isRemoved: false }]);
  });

  test("a parent that was settled and is stored once more is dropped, whoever stored it", () => {
    const [split, dropped]: number[][] = [[], []];
    const deliver = createDeliver({
      pod: {},
      repeats: { isRepeat: () => true, drop: ({ seq }: { seq: number }) => void dropped?.push(seq) },
      parents: { split: (_shard: number, seq: number) => void split?.push(seq) },
    } as unknown as DeliverDeps);
    const { parent } = world({ to: addresses(2) });
    deliver.add({ ...at, subject: "mb.q" }, parent, {});
    deliver.add({ ...at, subject: "mb.q" }, parent, { body });
    assert.deepEqual([split, dropped], [[], [at.seq, at.seq]]);
  });

  test("leaves alone what stands where a parent stood: a server that lost its end uses sequences again", async () => {
    const { replace, split, children, done, noted } = world({ to: addresses(2) });
    replace(envelope({ id: "another", site: "one.example", to: ["a@one.example"], size: body.length }));
    await split();
    assert.deepEqual([children, done, noted], [[], [], []]);
  });

  test("notes progress every 64 children, and removes the note with the parent, last", async () => {
    const { split, children, done } = world({ to: addresses(130) });
    await split();
    assert.equal(children.length, 130);
    assert.deepEqual(done, ["state: 66 open", "state: 2 open", "parent removed", "state 102 removed"]);
  });

  test("goes on where a note says, under the names that the children had before", async () => {
    const idHash = idHashOf("parent");
    const state = { attempt: 0, due: 0, open: [1, 2], idHash, last: "" };
    const { split, children, done } = world({ to: addresses(3), state });
    await split();
    assert.deepEqual(
      children.map(({ messageId }) => messageId),
      ["parent:1", "parent:2"],
    );
    assert.deepEqual(done, ["parent removed", "state 7 removed"]);
  });

  test("a note about another entry that had the sequence before is none", async () => {
    const state = { attempt: 0, due: 0, open: [1], idHash: idHashOf("another"), last: "" };
    const { split, children } = world({ to: addresses(2), state });
    await split();
    assert.equal(children.length, 2);
  });

  test("an address that stands twice goes to one child, with both of its places", async () => {
    const { split, children } = world({ to: ["a@one.example", "a@one.example", "b@two.example"] });
    await split();
    assert.deepEqual(children[0]?.envelope.to, ["a@one.example", "a@one.example"]);
    assert.deepEqual(
      children.map(({ messageId }) => messageId),
      [`parent:0:${hash32("0,1").toString(36)}`, "parent:2"],
    );
  });

  test("names a child by all who are in it: grouped anew after a crash it is not taken for one that is stored", async () => {
    const nameOf = async (siteOf: (domain: string) => string): Promise<string | undefined> => {
      const { split, children } = world({ to: addresses(2), siteOf });
      await split();
      return children[0]?.messageId;
    };
    assert.equal(await nameOf((domain) => domain), "parent:0");
    assert.notEqual(await nameOf(() => "same.example"), "parent:0");
  });

  test("groups once, however often it tries: who is in a child that is stored does not come into another one", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    let isMerged = true;
    const { parents, parent, children, fence } = world({
      to: addresses(3),
      siteOf: (domain) => (isMerged && domain !== "site2.example" ? "same.example" : domain),
      answers: (count) => (count === 1 ? refusal : undefined),
    });
    // The note of the first child is refused, so all are open still.
    fence(true);
    parents.split(at.shard, at.seq, parent);
    await settle();
    isMerged = false;
    fence(false);
    context.mock.timers.tick(retryMs);
    await settle();
    const names = children.map(({ messageId }) => messageId);
    const merged = `parent:0:${hash32("0,1").toString(36)}`;
    assert.deepEqual(names, [merged, "parent:2", "parent:2"]);
    assert.equal(parents.size(), 0);
  });

  test("children of a large message share its stored body", async () => {
    const { split, children } = world({ to: addresses(2), fields: { bodyChunks: 3, size: 2_000_000 } });
    await split();
    for (const { envelope: child } of children) {
      assert.deepEqual([child.bodyChunks, child.isBodyShared, child.size], [3, true, 2_000_000]);
    }
  });

  test("tries a child that cannot be stored again after 2 s, and no other: the duplicate window may be over", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, children, done } = world({
      to: addresses(2),
      answers: (count) => (count === 1 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    parents.split(at.shard, at.seq, parent);
    await settle();
    assert.equal(children.length, 2, "a second call for the same parent does nothing");
    assert.deepEqual(done, ["state: 1 open"]);
    assert.equal(parents.underWay(at.shard), 1);
    assert.equal(parents.weightOf("mail/acme"), 2, "it counts as what may come of it");
    assert.equal(parents.weightOf("mail/other"), 0);
    context.mock.timers.tick(retryMs);
    await settle();
    assert.deepEqual(
      children.slice(2).map(({ messageId }) => messageId),
      ["parent:1"],
    );
    assert.deepEqual(done, ["state: 1 open", "parent removed", "state 101 removed"]);
    assert.equal(parents.underWay(at.shard), 0);
    assert.equal(parents.weightOf("mail/acme"), 0);
  });

  test("another parent that has its sequence, after the server lost its end, is grouped by itself", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, children, replace } = world({
      to: addresses(2),
      answers: (count) => (count < 2 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    await settle();
    replace({ ...parent, id: "other", to: ["x@other.example", "y@other2.example"] });
    context.mock.timers.tick(retryMs);
    await settle();
    assert.deepEqual(
      children.slice(2).map(({ messageId, envelope: { to } }) => [messageId, ...to]),
      [
        ["other:0", "x@other.example"],
        ["other:1", "y@other2.example"],
      ],
    );
  });

  test("goes on with what has begun when its shard is handed over: its next owner may group in another way, and waits", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, children, done, handOver } = world({
      to: addresses(2),
      answers: (count) => (count === 0 || count === 2 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    handOver();
    assert.deepEqual(parents.sequences(at.shard), [at.seq]);
    for (let turn = 0; turn < 3; turn++) {
      await settle();
      context.mock.timers.tick(retryMs);
    }
    await settle();
    assert.deepEqual(
      children.map(({ messageId }) => messageId),
      ["parent:0", "parent:1", "parent:0", "parent:0"],
      "none that is stored again, as the duplicate window ends",
    );
    assert.deepEqual([done, parents.size()], [["parent removed"], 0]);
  });

  test("as many are read at once as may come to 1,024 children and 32 MB; all count as being split", async () => {
    for (const [fields, count] of [
      [{ to: addresses(2), size: 10_000 }, 512],
      [{ to: addresses(130), size: 10_000 }, 16],
      [{ to: addresses(2), size: 3_000_000 }, 10],
      [{ to: addresses(2), size: 60_000_000 }, 1],
    ] as const) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const { parents, parent, fetched } = world({ to: fields.to, isRead: promise });
      for (let seq = 1; seq <= 2000; seq++) parents.split(at.shard, seq, { ...parent, ...fields });
      assert.deepEqual([fetched.length, parents.underWay(at.shard)], [count, 2000]);
      assert.equal(parents.weightOf("mail/acme"), 2000 * fields.to.length);
      resolve();
      await until("all to be split", () => parents.size() === 0);
      assert.deepEqual(
        fetched,
        Array.from({ length: 2000 }, (_, index) => index + 1),
      );
    }
  });

  test("one whose children are stored leaves its room to others, though its delete takes long", async () => {
    const { parents, parent, fetched, children, holdRemovals } = world({ to: addresses(64) });
    holdRemovals();
    for (let seq = 1; seq <= 40; seq++) parents.split(at.shard, seq, parent);
    assert.equal(fetched.length, 16);
    await until("all children to be stored", () => children.length === 40 * 64);
    assert.equal(parents.underWay(at.shard), 40);
  });

  test("those that wait are forgotten when their shard is dropped, and begin again when it is read again; others come up", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { parents, parent, fetched } = world({ to: addresses(64), isRead: promise });
    for (let seq = 1; seq <= 20; seq++) parents.split(at.shard, seq, parent);
    parents.split(at.shard + 1, 1000, parent);
    parents.drop(at.shard);
    assert.deepEqual([parents.sequences(at.shard).length, parents.has(at.shard, 17)], [16, false]);
    assert.deepEqual([parents.sequences(at.shard + 1), parents.size()], [[1000], 17]);
    parents.split(at.shard, 17, parent);
    resolve();
    await until("all to be split", () => parents.size() === 0);
    assert.deepEqual(fetched.slice(16), [1000, 17]);
  });

  test("what has begun and waits to go on stays when its shard is handed over, and goes on", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, children, done, handOver, holdRemovals } = world({
      to: addresses(64),
      answers: (count) => (count < 64 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    await settle();
    for (let seq = 100; seq < 116; seq++) parents.split(at.shard + 1, seq, parent);
    context.mock.timers.tick(retryMs);
    parents.drop(at.shard);
    handOver();
    assert.deepEqual(parents.sequences(at.shard), [at.seq]);
    holdRemovals();
    await settle();
    assert.equal(children.length, 18 * 64);
    assert.deepEqual(done, []);
  });

  test("those that are refused together are read again one after the other, within 0.8 s", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    let drawn = 0;
    const { parents, parent, fetched } = world({
      to: addresses(2),
      random: () => drawn++ / 10,
      answers: () => ({ kind: "refused", reason: "unavailable" }),
    });
    for (let seq = 1; seq <= 10; seq++) parents.split(at.shard, seq, parent);
    await settle();
    const reads: number[] = [];
    for (let ms = 1600; ms < 2400; ms += 80) {
      context.mock.timers.tick(ms === 1600 ? 1601 : 80);
      reads.push(fetched.length - 10);
    }
    assert.deepEqual(reads, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test("does not begin while the owner before is at it", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { parents, parent, children, former } = world({ to: addresses(2) });
    former(true);
    parents.split(at.shard, at.seq, parent);
    await settle();
    assert.deepEqual([children.length, parents.underWay(at.shard)], [0, 1]);
    former(false);
    context.mock.timers.tick(retryMs);
    await settle();
    assert.deepEqual([children.length, parents.size()], [2, 0]);
  });

  test("leaves the parent to the next owner when its shard is gone", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { parents, parent, children, lose } = world({
      to: addresses(2),
      answers: () => ({ kind: "refused", reason: "full" }),
    });
    parents.split(at.shard, at.seq, parent);
    lose();
    await settle();
    context.mock.timers.tick(retryMs);
    await settle();
    assert.equal(children.length, 2);
    assert.equal(parents.underWay(at.shard), 0);
  });
});

test("a parent whose body is not whole is tried three times, then parked with the reason", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { parents, parent, poison, children, done, written } = world({ to: addresses(2), isDamaged: true });
  parents.split(at.shard, at.seq, parent);
  for (const ms of [2000, 4000]) {
    await settle();
    assert.deepEqual([parents.size(), poison.sizeOf(at.shard)], [1, 0]);
    context.mock.timers.tick(ms);
  }
  await settle();
  assert.deepEqual([parents.size(), children.length, done.length, written.length], [0, 0, 0, 0]);
  const [parked] = [...poison.list()];
  assert.deepEqual([parked?.id, parked?.reason], ["parent", "body: expected 14 bytes, got no chunk 1 of 2"]);
});

describe("a parent that ends its pod as it is split", () => {
  const record = { attempt: 0, due: 0, open: [0, 1], idHash: idHashOf("parent"), last: "" };

  test("is noted before its first child when an owner died before; its progress keeps that", async () => {
    const { split, written, children, done } = world({ to: addresses(130), how: "witnessed" });
    await split();
    assert.deepEqual(
      written.map(({ open, started }) => [open.length, started]),
      [
        [130, 1],
        [66, 1],
        [2, 1],
      ],
    );
    assert.equal(children.length, 130);
    assert.deepEqual(done.slice(-2), ["parent removed", "state 103 removed"]);
  });

  test("is noted once more by the next owner, once by each however often that one begins", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, written, done } = world({
      to: addresses(2),
      how: "expired",
      state: { ...record, started: 1 },
      answers: (count) => (count < 2 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    await settle();
    context.mock.timers.tick(retryMs);
    await settle();
    assert.deepEqual(
      written.map(({ started }) => started),
      [2],
    );
    assert.deepEqual(done, ["state: 2 open", "parent removed", "state 101 removed"]);
  });

  test("waits while another suspect goes alone, and goes with its shard", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const state = { ...record, started: 1 };
    const { poison, parents, parent, children, lose } = world({ to: addresses(2), how: "witnessed", state });
    const other = { shard: at.shard, seq: 40, idHash: 1, attempt: 0, due: 0 };
    const first = await poison.note(other, { open: [0], last: "", leaseSeq: 5, stateSeq: 0, started: 1 });
    assert.ok(typeof first === "object");
    parents.split(at.shard, at.seq, parent);
    await settle();
    context.mock.timers.tick(250);
    await settle();
    assert.equal(children.length, 0);
    lose();
    context.mock.timers.tick(250);
    await settle();
    assert.deepEqual([children.length, parents.underWay(at.shard)], [0, 0]);
  });

  test("goes on under the new lease when its shard went and came back while it waited", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const state = { ...record, started: 1 };
    const { poison, parents, parent, children, done, lose, regain } = world({
      to: addresses(2),
      how: "witnessed",
      state,
    });
    const other = { shard: at.shard, seq: 40, idHash: 1, attempt: 0, due: 0 };
    const first = await poison.note(other, { open: [0], last: "", leaseSeq: 5, stateSeq: 0, started: 1 });
    assert.ok(typeof first === "object");
    parents.split(at.shard, at.seq, parent);
    await settle();
    lose();
    regain();
    first.over();
    for (let turn = 0; turn < 20; turn++) {
      context.mock.timers.tick(250);
      await settle();
    }
    assert.equal(children.length, 2);
    assert.equal(done.at(-2), "parent removed");
    assert.equal(parents.size(), 0);
  });

  test("is parked at the third death, and not split again", () => {
    const split: number[] = [];
    const { poison, parent } = world({ to: addresses(2), how: "witnessed" });
    const deliver = createDeliver({
      pod: { clock: { now: () => parent.receivedAt } },
      poison,
      repeats: { isRepeat: () => false },
      parents: { split: (_shard: number, seq: number) => void split.push(seq) },
    } as unknown as DeliverDeps);
    const stored = { ...at, subject: "mb.q" };
    deliver.add(stored, parent, { state: { ...record, started: 1 } });
    assert.deepEqual([split, poison.sizeOf(at.shard)], [[at.seq], 0]);
    deliver.add(stored, parent, { state: { ...record, started: 2 } });
    assert.deepEqual([split, poison.sizeOf(at.shard)], [[at.seq], 1]);
  });
});
