/** Which pools a tenant has left, and how often they are asked for what is left there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { poolOf } from "#crds/api/v1alpha1/tenant.ts";
import { createObjectGatherer } from "#operator/gather/objects.ts";
import type { Context } from "#operator/reconcile/context.ts";
import { createEmptying } from "#operator/reconcile/emptying.ts";
import { createFormerPools } from "#operator/reconcile/former-pools.ts";
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
  const leavers = (name: string) => former.leavers([inPool(name)]).map(poolOf);
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

test("as long as it is the same, what drains is the very same object: nothing is compiled again", () => {
  const former = createFormerPools(() => 0);
  former.leavers([inPool("a")]);
  const moved = inPool("b");
  const [first] = former.leavers([moved]);
  assert.equal(former.leavers([moved])[0], first);
  assert.deepEqual([first?.spec.state, first?.spec.credentials], ["Reject", undefined]);
});

test("what is left is asked for at once, and the more rarely the longer it takes", async () => {
  let seconds = 0;
  const asked: number[] = [];
  const former = createFormerPools(() => 0);
  former.add("mail/acme", "mail/old");
  const stored = async (): Promise<number> => {
    asked.push(seconds);
    return seconds < 600 ? 3 : 0;
  };
  const did: string[] = [];
  const fake = {
    clock: { monotonic: () => seconds * 1000 },
    configuration: {
      isKnown: () => true,
      tenant: () => undefined,
      leaver: () => ({ pool: "mail/old", since: 1, compiled: {}, isGoing: true }),
      touch: () => void did.push(`touch at ${seconds}`),
    },
    formerPools: former,
    log: { info() {} },
    reports: { of: () => ({ told: new Map() }) },
    stores: { get: () => ({}), podsOf: () => new Map() },
    streams: { known: () => ({ stored }) },
  } as unknown as Context;
  const moves = createMoves(fake, createEmptying(fake));
  for (; seconds < 1200 && former.size() > 0; seconds++) {
    const move = await moves.look("mail/acme");
    if (seconds === 0)
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
