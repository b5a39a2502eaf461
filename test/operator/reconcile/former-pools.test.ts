/** Which pools a tenant has left, and how often they are asked for what is left there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { poolOf } from "#crds/api/v1alpha1/tenant.ts";
import { createObjectGatherer } from "#operator/gather/objects.ts";
import type { Context } from "#operator/reconcile/context.ts";
import { createEmptying } from "#operator/reconcile/emptying.ts";
import { createFormerPools, type FormerPools } from "#operator/reconcile/former-pools.ts";
import { createMoves } from "#operator/reconcile/moves.ts";
import { tenant } from "./world.ts";

let generation = 1;

function inPool(name: string) {
  const object = tenant("acme", { poolRef: { name } }, { uid: "a", generation: generation++ });
  const parsed = createObjectGatherer().tenant(object);
  assert.ok(parsed !== undefined);
  return parsed;
}

test("a tenant drains in every pool that it has left, until it comes back or nothing is there", () => {
  const former = createFormerPools(() => 0);
  const leavers = (name: string) => {
    const pools = former.leavers([inPool(name)]).map(poolOf);
    former.note("mail/acme", `mail/${name}`);
    return pools.toSorted();
  };
  assert.deepEqual(leavers("a"), []);
  assert.deepEqual(leavers("b"), ["mail/a"]);
  assert.deepEqual(leavers("c"), ["mail/a", "mail/b"]);
  assert.deepEqual(leavers("a"), ["mail/b", "mail/c"]);
  former.drop("mail/acme", "mail/c");
  former.add("mail/acme", "mail/a");
  assert.deepEqual(former.of("mail/acme"), ["mail/b"], "the pool that it names is none that it has left");
  former.forget("mail/acme");
  assert.deepEqual([former.size(), leavers("d")], [0, []]);
});

test("one that names another pool is in its own until that takes it, and may drain there from then on", () => {
  const former = createFormerPools(() => 0);
  former.note("mail/acme", "mail/a");
  for (let again = 0; again < 2; again++)
    assert.deepEqual(former.leavers([inPool("b")]).map(poolOf), ["mail/a"]);
  assert.deepEqual([former.of("mail/acme"), former.homes.get("mail/acme")], [[], "mail/a"]);
  former.note("mail/acme", "mail/b");
  assert.deepEqual([former.of("mail/acme"), former.homes.get("mail/acme")], [["mail/a"], "mail/b"]);
});

test("as long as it is the same, what drains is the very same object: nothing is compiled again", () => {
  const former = createFormerPools(() => 0);
  former.note("mail/acme", "mail/a");
  const moved = inPool("b");
  const [first] = former.leavers([moved]);
  assert.equal(former.leavers([moved])[0], first);
  assert.deepEqual([first?.spec.state, first?.spec.credentials], ["Reject", undefined]);
});

/** The moves of tenants that have left the pool mail/old. */
function movesOver(scene: {
  former: FormerPools;
  shards: number;
  seconds: number;
  stored(): number | undefined;
}) {
  const did: string[] = [];
  const fake = {
    clock: { monotonic: () => scene.seconds * 1000 },
    configuration: {
      isKnown: () => true,
      poolSpec: () => ({ spec: { queue: { shards: scene.shards } } }),
      tenant: () => undefined,
      leaver: () => ({ pool: "mail/old", since: 1, compiled: {}, isGoing: true }),
      touch: () => void did.push(`touch at ${scene.seconds}`),
    },
    formerPools: scene.former,
    log: { info() {} },
    reports: { of: () => ({ told: new Map() }) },
    stores: { get: () => ({}), podsOf: () => new Map() },
    streams: { known: () => ({ stored: async () => scene.stored() }) },
  } as unknown as Context;
  return { did, moves: createMoves(fake, createEmptying(fake)) };
}

test("what is left is asked for at once, and the more rarely the longer it takes", async () => {
  const asked: number[] = [];
  const former = createFormerPools(() => 0);
  former.add("mail/acme", "mail/old");
  const scene = {
    former,
    shards: 8,
    seconds: 0,
    stored() {
      asked.push(scene.seconds);
      return scene.seconds < 600 ? 3 : 0;
    },
  };
  const { did, moves } = movesOver(scene);
  for (; scene.seconds < 1200 && former.size() > 0; scene.seconds++) {
    const move = await moves.look("mail/acme");
    if (scene.seconds === 0)
      assert.deepEqual(move, { message: "3 messages are queued in the pool mail/old", againMs: 2000 });
  }
  assert.deepEqual(asked.slice(0, 4), [0, 2, 4, 6]);
  const last = asked.slice(-3);
  assert.ok(
    last.every((at) => at > 500),
    String(asked),
  );
  assert.ok(asked.length < 50, `asked ${asked.length} times`);
  assert.deepEqual(did, [`touch at ${last.at(-1)}`], "once it was empty twice");
  assert.equal(await moves.look("mail/acme"), undefined);
});

test("of 10,000 tenants no more than 200 questions a second are asked, one for each shard", async () => {
  const former = createFormerPools(() => 0);
  for (let index = 0; index < 10_000; index++) former.add(`mail/t${index}`, "mail/old");
  for (const shards of [1, 8]) {
    const { moves } = movesOver({ former, shards, seconds: 0, stored: () => 3 });
    assert.equal((await moves.look("mail/t0"))?.againMs, (10_000 * shards * 1000) / 200);
  }
});

test("what is left is told anew when it has changed by a tenth, and stays as told while NATS is away", async () => {
  const former = createFormerPools(() => 0);
  former.add("mail/acme", "mail/old");
  let stored: number | undefined;
  const scene = { former, shards: 1, seconds: 0, stored: () => stored };
  const { moves } = movesOver(scene);
  const told: string[] = [];
  for (stored of [undefined, 1000, 950, 901, 900, undefined, 805, 11, 10, 1]) {
    told.push((await moves.look("mail/acme"))?.message ?? "");
    scene.seconds += 60;
  }
  const said = (count: number): string => `${count} messages are queued in the pool mail/old`;
  assert.deepEqual(told, [
    "NATS cannot be asked what is queued in the pool mail/old",
    ...[1000, 1000, 1000, 900, 900, 805, 11, 11, 1].map(said),
  ]);
});
