import assert from "node:assert/strict";
import { describe, mock, test } from "node:test";
import type { Rule } from "#crds/pod-config/schema.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Outbound } from "#mta-pod/outbound.ts";
import type { Pod } from "#mta-pod/pod.ts";
import type { Sites } from "#mta-pod/sites.ts";
import { createSlicing, slicingOf } from "#mta-pod/slicing.ts";

const ruleOf = (name: string, slices = 1): Rule =>
  ({ name, ...(slices === 1 ? {} : { slices: Array.from({ length: slices }, () => ({})) }) }) as Rule;

/** One pod; what the others tell, and what it has open, is set by the test. */
function world() {
  const state = {
    now: 1_000_000,
    others: [] as unknown[],
    open: 0,
    isKnown: true,
    held: [] as string[],
    released: 0,
    looks: new Set<() => void>(),
  };
  const slicing = createSlicing({
    clock: { now: () => state.now, monotonic: () => state.now - 1_000_000 },
    log: silentLog,
    others: () => state.others,
    isKnown: () => state.isKnown,
    openAt: () => state.open,
    hold: (rule) => void state.held.push(rule),
    released: () => void state.released++,
    every(_ms, run) {
      state.looks.add(run);
      return () => void state.looks.delete(run);
    },
  });
  return {
    state,
    slicing,
    pass(ms: number): void {
      for (let passed = 0; passed < ms; passed += 500) {
        state.now += 500;
        for (const look of Array.from(state.looks)) look();
      }
    },
  };
}

describe("createSlicing()", () => {
  test("a site that nobody slices is open at once, and nothing is told of it", () => {
    const { slicing, state } = world();
    state.others = [{}, undefined, { other: 2 }];
    slicing.adopt([ruleOf("hot")]);
    assert.equal(slicing.isOpen(ruleOf("hot")), true);
    assert.equal(slicing.isOpen(null), true);
    assert.deepEqual(slicing.told(), {});
    assert.equal(state.looks.size, 0, "nothing has to be looked at");
  });

  test("a pod that starts sends when the others have been at the same number for a while, and has nothing to make good", () => {
    const { slicing, state, pass } = world();
    state.others = [{ hot: 4 }, { hot: 4 }];
    slicing.adopt([ruleOf("hot", 4)]);
    assert.deepEqual(slicing.told(), { hot: 4 });
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), false);
    pass(5_500);
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), false);
    pass(500);
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), true);
    assert.equal(slicing.changedAt(ruleOf("hot", 4)), undefined);
    assert.deepEqual([state.released, state.looks.size], [1, 0]);
  });

  test("a pod that starts while nobody can be asked who there is sends nothing", () => {
    const { slicing, state, pass } = world();
    state.isKnown = false;
    slicing.adopt([ruleOf("hot", 4)]);
    pass(60_000);
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), false);
    state.isKnown = true;
    pass(500);
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), true);
  });

  test("a pod with a configuration of before sends nothing while others have the next one", () => {
    const { slicing, state, pass } = world();
    state.others = [{ hot: 4 }];
    slicing.adopt([ruleOf("hot")]);
    assert.equal(slicing.isOpen(ruleOf("hot")), false);
    pass(60_000);
    assert.equal(slicing.isOpen(ruleOf("hot")), false);
    slicing.adopt([ruleOf("hot", 4)]);
    pass(6_500);
    assert.equal(slicing.isOpen(ruleOf("hot", 4)), true);
    assert.equal(slicing.changedAt(ruleOf("hot", 4)), state.now);
  });

  test("another number: it stops, tells the new one when nothing is open any more, and goes on when all tell that", () => {
    const { slicing, state, pass } = world();
    slicing.adopt([ruleOf("hot"), ruleOf("cold")]);
    for (const name of ["hot", "cold"]) assert.equal(slicing.isOpen(ruleOf(name)), true);
    state.open = 2;
    state.others = [{}];
    slicing.adopt([ruleOf("hot", 2), ruleOf("cold")]);
    assert.deepEqual(state.held, ["hot"]);
    pass(30_000);
    assert.deepEqual(slicing.told(), {}, "it still has connections by the number of before");
    state.open = 0;
    pass(500);
    assert.deepEqual(slicing.told(), { hot: 2 });
    pass(30_000);
    assert.equal(slicing.isOpen(ruleOf("hot", 2)), false, "the other one has not followed");
    state.others = [{ hot: 2 }];
    pass(500);
    assert.equal(slicing.isOpen(ruleOf("hot", 2)), true);
    assert.equal(slicing.changedAt(ruleOf("hot", 2)), state.now);
    assert.equal(slicing.isOpen(ruleOf("cold")), true);
    assert.equal(slicing.changedAt(ruleOf("cold")), undefined);
  });

  test("back to one: pods that tell nothing are at one", () => {
    const { slicing, state, pass } = world();
    slicing.adopt([ruleOf("hot", 3)]);
    pass(6_000);
    state.others = [{ hot: 3 }];
    slicing.adopt([ruleOf("hot")]);
    pass(10_000);
    assert.equal(slicing.isOpen(ruleOf("hot")), false);
    state.others = [{}];
    pass(500);
    assert.equal(slicing.isOpen(ruleOf("hot")), true);
    assert.deepEqual(slicing.told(), {});
  });

  test("what a stranger tells is no number", () => {
    const { slicing, state } = world();
    state.others = [{ hot: "many" }, 7, null, { hot: null }];
    assert.equal(slicing.isOpen(ruleOf("hot")), true);
  });

  test("a rule that is gone is forgotten", () => {
    const { slicing } = world();
    slicing.adopt([ruleOf("hot", 3)]);
    slicing.adopt([]);
    assert.deepEqual(slicing.told(), {});
  });

  test("guests may be at the first slice, within its share, once the slices are agreed; of a whole site nobody is held back", () => {
    const { slicing, state, pass } = world();
    const share = { connections: 4, messagesPerSecond: 7 };
    const sliced = { ...ruleOf("hot", 2), slices: [share, { connections: 3 }] } as Rule;
    slicing.adopt([sliced, ruleOf("cold")]);
    assert.equal(slicing.guestsAt("hot~0"), undefined);
    state.others = [{ hot: 2 }];
    pass(7_000);
    assert.deepEqual(slicing.guestsAt("hot~0"), share);
    for (const place of ["hot", "hot~1", "gone~0"]) assert.equal(slicing.guestsAt(place), undefined, place);
    for (const place of ["cold", "mx:a.example/mx"]) assert.deepEqual(slicing.guestsAt(place), {}, place);
    slicing.adopt([ruleOf("hot"), ruleOf("cold")]);
    assert.deepEqual([slicing.guestsAt("hot"), slicing.guestsAt("hot~0")], [undefined, undefined]);
    state.others = [{}];
    pass(7_000);
    assert.deepEqual([slicing.guestsAt("hot"), slicing.guestsAt("hot~0")], [{}, undefined]);
  });
});

test("slicingOf() has this pod's guests leave the hosts of a rule whose slices change, and waits until they are gone", () => {
  mock.timers.enable({ apis: ["setInterval"] });
  try {
    let guests: ReturnType<Outbound["guests"]> = [
      ["hot~0+@rest", "default", 1],
      ["cold+@rest", "default", 1],
    ];
    const left: string[] = [];
    const ownership = {
      ended: { perhapsAlive: () => [] },
      members: () => [{ isSelf: true, state: "alive" }],
    };
    const clock = { now: () => 0, monotonic: () => 0 };
    const slicing = slicingOf({ clock, log: silentLog, ownership } as unknown as Pod, () => ({
      sites: { openAt: () => 0, hold: () => [], refresh: () => {} } as unknown as Sites,
      outbound: { closeIdle: () => {}, guests: () => guests, leave: (rule) => void left.push(rule) },
      deliver: { pump: () => {} },
    }));
    slicing.adopt([ruleOf("hot", 3), ruleOf("cold")]);
    slicing.adopt([ruleOf("hot", 2), ruleOf("cold")]);
    assert.deepEqual(left, ["hot"]);
    mock.timers.tick(1000);
    assert.deepEqual(slicing.told(), { hot: 3 });
    guests = guests.slice(1);
    mock.timers.tick(1000);
    assert.deepEqual(slicing.told(), { hot: 2 });
    slicing.stop();
  } finally {
    mock.timers.reset();
  }
});
