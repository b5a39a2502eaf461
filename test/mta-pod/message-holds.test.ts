import assert from "node:assert/strict";
import { test } from "node:test";
import { createMessageHolds, endOf } from "#mta-pod/message-holds.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createIdMaker } from "#mta-pod/runtime/message-id.ts";
import type { Suspension } from "#mta-pod/spool/suspensions.ts";
import { envelope } from "#test/kit/spool.ts";

const hour = 3_600_000;
const said = { by: "pod-0", at: 0 };

function scene() {
  const world = { now: 1_000_000, pumped: 0, requeued: [] as number[], waiting: new Set([7, 8]) };
  const pod = {
    clock: { now: () => world.now },
    scheduler: {
      entryOf: (handle: number) => ({ state: world.waiting.has(handle) ? "waiting" : "inflight" }),
      requeue: (handle: number) => void world.requeued.push(handle),
    },
  } as unknown as Pod;
  return { world, holds: createMessageHolds(pod, () => void world.pumped++) };
}

const mail = envelope({
  id: "m1",
  tenant: "mail/acme",
  site: "relay:25",
  to: ["u@one.example", "v@Two.example"],
});

test("a message is put aside by its id or an open recipient's domain, of that tenant and site alone", () => {
  const { holds, world } = scene();
  assert.equal(holds.holdMs(7, mail, [0, 1]), 0, "nothing stands");
  for (const [selection, open, isHeld] of [
    [{ id: "m1" }, [0, 1], true],
    [{ id: "m2" }, [0, 1], false],
    [{ domain: "two.example" }, [0, 1], true],
    [{ domain: "two.example" }, [0], false],
    [{ domain: "wo.example" }, [0, 1], false],
    [{ domain: "one.example", tenant: "mail/acme" }, [0], true],
    [{ domain: "one.example", tenant: "mail/other" }, [0], false],
    [{ domain: "one.example", site: "relay:25" }, [0], true],
    [{ domain: "one.example", site: "relay:26" }, [0], false],
    [{ domain: "one.example", id: "m1" }, [0], true],
    [{ domain: "one.example", id: "m2" }, [0], false],
    // Whole tenants and sites wait in the scheduler.
    [{ tenant: "mail/acme" }, [0, 1], false],
    [{}, [0, 1], false],
  ] as const) {
    holds.adopt([{ ...selection, ...said }]);
    assert.equal(holds.holdMs(7, mail, open) > 0, isHeld, JSON.stringify(selection));
    assert.equal(holds.of(mail, open) !== undefined, isHeld);
    holds.adopt([]);
  }
  assert.equal(world.pumped > 0, true);
});

test("it is looked at again after an hour, or when its suspension ends", () => {
  const { holds, world } = scene();
  holds.adopt([{ id: "m1", ...said }]);
  assert.equal(holds.holdMs(7, mail, [0]), hour);
  holds.adopt([{ id: "m1", until: world.now + 5_000, ...said }]);
  assert.equal(holds.holdMs(7, mail, [0]), 5_000);
  world.now += 5_000;
  assert.equal(holds.holdMs(7, mail, [0]), 0);
});

test("what was put aside goes on when a suspension is lifted or replaced, unless it is under way by then", () => {
  const { holds, world } = scene();
  const [one, other]: Suspension[] = [
    { id: "m1", ...said },
    { domain: "three.example", ...said },
  ];
  assert.ok(one !== undefined && other !== undefined);
  holds.adopt([one]);
  for (const handle of [7, 8, 9]) holds.holdMs(handle, mail, [0]);
  holds.adopt([one, other]);
  assert.deepEqual(world.requeued, [], "one more lets nothing go");
  holds.adopt([one, { ...other, until: 5 }]);
  assert.deepEqual([world.requeued, world.pumped], [[7, 8], 1]);
  holds.adopt([]);
  assert.deepEqual([world.requeued, world.pumped], [[7, 8], 1], "nothing was put aside since");
});

test("what had its turn since and was put off by its host waits for its own time when another suspension ends", () => {
  const { holds, world } = scene();
  const other = { id: "m2", ...said };
  holds.adopt([{ id: "m1", until: world.now + 5_000, ...said }, other]);
  assert.equal(holds.holdMs(7, mail, [0]), 5_000);
  assert.equal(holds.holdMs(8, mail, [0]), 5_000);
  world.now += 5_000;
  assert.equal(holds.holdMs(7, mail, [0]), 0, "it is attempted, and waits again");
  holds.adopt([]);
  assert.deepEqual(world.requeued, [8]);
});

test("holdMs() costs what fits the message, not what is suspended", () => {
  const { holds } = scene();
  const ids = Array.from({ length: 10_000 }, (_, at) => ({ id: `other-${at}`, ...said }));
  const domains = ids.map(({ id, ...rest }) => ({ domain: `${id}.example`, ...rest }));
  holds.adopt([...ids, ...domains, { domain: "two.example", ...said }]);
  const startedAt = performance.now();
  for (let look = 0; look < 1000; look++) assert.equal(holds.holdMs(7, mail, [0]), 0);
  // 20 s when each of them is looked at.
  assert.ok(performance.now() - startedAt < 2000, `${performance.now() - startedAt} ms`);
  assert.equal(holds.holdMs(7, mail, [1]), hour);
});

test("a suspension of one message ends when that cannot be queued any more, whatever was asked for; others as asked for", () => {
  const longest = 168 * hour;
  const at = 1_700_000_000_000;
  const acceptedAt = at - 24 * hour;
  const id = createIdMaker(() => acceptedAt)();
  for (const [selection, forSeconds, until] of [
    [{ id }, undefined, acceptedAt + longest],
    [{ id, domain: "one.example" }, undefined, acceptedAt + longest],
    [{ id }, 60, at + 60_000],
    [{ id }, 1_000_000_000, acceptedAt + longest],
    [{ id: "no id of ours" }, undefined, at + longest],
    [{ domain: "one.example" }, undefined, undefined],
    [{ tenant: "mail/acme" }, 60, at + 60_000],
    [{}, undefined, undefined],
  ] as const)
    assert.equal(endOf(selection, { at, forSeconds }), until, JSON.stringify([selection, forSeconds]));
});
