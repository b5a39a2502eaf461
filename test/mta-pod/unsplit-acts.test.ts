import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { ActionName } from "#mta-pod/acts.ts";
import type { QueueQuery } from "#mta-pod/queue-query.ts";
import type { Settlement } from "#mta-pod/settlement.ts";
import type { Stored } from "#mta-pod/spool/publisher.ts";
import { createUnsplitActs } from "#mta-pod/unsplit-acts.ts";
import { addresses, at, retryMs, settle, world } from "./parents-world.ts";

const refusal: Stored = { kind: "refused", reason: "unavailable" };

/** A parent that waits as its children cannot be stored until the test says so, and acts on it. */
function scene(context: TestContext, setting: Partial<Parameters<typeof world>[0]> = {}) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let isStoreAway = true;
  let isTold = true;
  const there = world({
    to: addresses(3),
    answers: () => (isStoreAway ? refusal : undefined),
    ...setting,
  });
  const told: { from: string; recipients: number[]; outcome: string | undefined; notify: number }[] = [];
  const settlement: Pick<Settlement, "tell"> = {
    tell({ envelope }, { recipients, notify }, done) {
      const [first] = recipients;
      const indexes = recipients.map(({ index }) => index);
      if (isTold)
        told.push({
          from: envelope.from,
          recipients: indexes,
          outcome: first?.outcome,
          notify: notify.length,
        });
      queueMicrotask(() => done(isTold));
    },
  };
  const acts = createUnsplitActs({
    pod: {
      ownership: { mayProceed: () => true },
      config: () => ({ tenants: new Map([["mail/acme", {}]]) }),
    } as never,
    parents: there.parents,
    settlement,
  });
  return {
    ...there,
    told,
    acts,
    act: (action: ActionName, query: QueueQuery) =>
      Promise.all(acts.list(query).map((one) => acts.act(action, one, query))),
    storeIs: (is: "away" | "back") => void (isStoreAway = is === "away"),
    shardGoes: () => void (isTold = false),
    async later(ms = retryMs): Promise<void> {
      context.mock.timers.tick(ms);
      await settle();
    },
    async begin(): Promise<void> {
      there.parents.split(at.shard, at.seq, there.parent);
      await settle();
    },
  };
}

const whole = [{ isAffected: true, isPassedOver: false }];
const none = [{ isAffected: false, isPassedOver: false }];

for (const query of [{ id: "parent" }, { tenant: "acme" }, {}])
  test(`a bounce of ${JSON.stringify(query)} returns a message for several sites that is not split yet, and nothing comes of it`, async (context) => {
    const { begin, act, told, children, parents, done, later, storeIs, noted } = scene(context);
    await begin();
    const tried = children.length;
    assert.deepEqual(await act("bounce", query), whole);
    assert.deepEqual(told, [
      { from: "news@acme.example", recipients: [0, 1, 2], outcome: "bounced", notify: 3 },
    ]);
    assert.deepEqual([done.at(-1), parents.size(), noted.length], ["parent removed", 0, 1]);
    storeIs("back");
    await later();
    assert.equal(children.length, tried);
  });

test("one that waits behind others for its turn is returned before it; those before and behind it go on", async (context) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const there = scene(context, { to: addresses(64), isRead: promise });
  const { parents, parent, acts, told, storeIs, holdRemovals, children } = there;
  storeIs("back");
  holdRemovals();
  for (let seq = 1; seq <= 40; seq++)
    parents.split(at.shard, seq, seq === 30 ? { ...parent, id: "meant" } : parent);
  const [one] = acts.list({ id: "meant" });
  assert.equal(one?.seq, 30);
  if (one !== undefined) void acts.act("bounce", one, { id: "parent" });
  resolve();
  await settle();
  await settle();
  assert.deepEqual([told.length, children.length], [1, 39 * 64]);
});

test("a bounce of a domain returns its recipients alone, notes that, and the others are split", async (context) => {
  const { begin, act, told, written, children, later, storeIs, done } = scene(context);
  await begin();
  children.length = 0;
  storeIs("back");
  assert.deepEqual(await act("bounce", { domain: "Site1.example" }), whole);
  await settle();
  assert.deepEqual(
    told.map(({ recipients }) => recipients),
    [[1]],
  );
  assert.deepEqual(written[0]?.open, [0, 2]);
  await later();
  assert.deepEqual(
    children.map(({ messageId, envelope }) => [messageId, ...envelope.to]),
    [
      ["parent:0", "user@site0.example"],
      ["parent:2", "user@site2.example"],
    ],
  );
  assert.equal(done.at(-2), "parent removed");
  assert.deepEqual(await act("bounce", { domain: "site1.example" }), []);
});

test("what cannot be noted is remembered: who was returned gets nothing when the others are split", async (context) => {
  const { begin, act, children, later, storeIs, fence, written } = scene(context);
  await begin();
  children.length = 0;
  fence(true);
  assert.deepEqual(await act("bounce", { domain: "site1.example" }), whole);
  fence(false);
  storeIs("back");
  await settle();
  await later();
  assert.deepEqual(
    [written.length, children.map(({ messageId }) => messageId)],
    [0, ["parent:0", "parent:2"]],
  );
});

test("a child that may be stored is not divided: only if all who are in it are meant it is returned", async (context) => {
  const siteOf = (domain: string): string => (domain === "site2.example" ? domain : "same.example");
  const { begin, act, told, children, later, storeIs } = scene(context, { siteOf });
  await begin();
  assert.deepEqual(await act("bounce", { domain: "site1.example" }), [
    { isAffected: false, isPassedOver: true },
  ]);
  await settle();
  assert.deepEqual(await act("bounce", { domain: "site2.example" }), whole);
  assert.deepEqual(
    told.map(({ recipients }) => recipients),
    [[2]],
  );
  children.length = 0;
  storeIs("back");
  await settle();
  await later();
  assert.deepEqual(
    children.map(({ envelope: { to } }) => to),
    [["user@site0.example", "user@site1.example"]],
  );
});

test("an act on a site, another tenant, message or domain leaves it alone, and it goes on", async (context) => {
  const { begin, act, told, children, later, storeIs } = scene(context);
  await begin();
  for (const query of [{ site: "site1.example" }, { tenant: "mail/other" }, { id: "another" }])
    assert.deepEqual(await act("bounce", query), [], JSON.stringify(query));
  assert.deepEqual(await act("bounce", { domain: "else.example" }), none);
  children.length = 0;
  storeIs("back");
  await settle();
  await later();
  assert.deepEqual([told, children.length], [[], 3]);
});

test("one that is being split is waited for; what of it was stored meanwhile is said to be passed over", async (context) => {
  let stored: Stored | undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  const { parents, parent, act, told, children } = scene(context, {
    isRead: promise,
    answers: (count) => (count === 1 ? undefined : (stored ?? refusal)),
  });
  parents.split(at.shard, at.seq, parent);
  const acting = act("bounce", { id: "parent" });
  await settle();
  assert.equal(told.length, 0);
  resolve();
  assert.deepEqual(await acting, [{ isAffected: true, isPassedOver: true }]);
  assert.deepEqual([told[0]?.recipients, children.length, parents.size()], [[0, 2], 3, 0]);
  stored = { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0, subject: "" };
});

test("one that is split before the act comes to it is said to be passed over", async (context) => {
  const { begin, acts, parents, later, storeIs } = scene(context);
  await begin();
  const listed = acts.list({});
  storeIs("back");
  await later();
  assert.equal(parents.size(), 0);
  const said = await Promise.all(listed.map((one) => acts.act("bounce", one, {})));
  assert.deepEqual(said, [{ isAffected: false, isPassedOver: true }]);
});

test("when the shard is gone before its sender is told the next owner finds it as it was", async (context) => {
  const { begin, act, shardGoes, lose, done, parents } = scene(context);
  await begin();
  shardGoes();
  lose();
  const acting = act("bounce", { id: "parent" });
  assert.deepEqual(await acting, none);
  assert.deepEqual([done, parents.size()], [[], 0]);
});

test("a part of it was returned when its shard is handed over: it goes on here, without those", async (context) => {
  const { begin, act, handOver, children, later, storeIs, done, parents } = scene(context);
  await begin();
  children.length = 0;
  handOver();
  assert.deepEqual(await act("bounce", { domain: "site1.example" }), whole);
  storeIs("back");
  await settle();
  await later();
  assert.deepEqual(
    children.map(({ messageId }) => messageId),
    ["parent:0", "parent:2"],
  );
  assert.deepEqual([done, parents.size()], [["parent removed"], 0]);
});

test("a discard tells nobody", async (context) => {
  const { begin, act, told, parents } = scene(context);
  await begin();
  assert.deepEqual(await act("discard", { tenant: "mail/acme" }), whole);
  assert.deepEqual([told[0]?.notify, parents.size()], [0, 0]);
});

test("a retry splits it at once; mail for later only when it is named goes before its time", async (context) => {
  for (const [query, sendAt] of [
    [{ tenant: "mail/acme" }, 5000],
    [{ id: "parent" }, 0],
  ] as const) {
    const { begin, act, children, storeIs, parents } = scene(context, { fields: { sendAt: 5000 } });
    await begin();
    children.length = 0;
    storeIs("back");
    assert.deepEqual(await act("retry", query), whole);
    await settle();
    assert.deepEqual(
      [children.map(({ envelope: { due } }) => due), parents.size()],
      [[sendAt, sendAt, sendAt], 0],
    );
    context.mock.timers.reset();
  }
});
