import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isOwner, step } from "#mta-pod/spool/lease-protocol.ts";
import type { LeaseRecord } from "#mta-pod/spool/lease-record.ts";
import { type LeaseAction, type LeaseInput, type LeaseState, openLease } from "#mta-pod/spool/lease-state.ts";
import { World } from "./lease-world.ts";

const times = { ttlMs: 15_000, renewEveryMs: 2_000, fenceMs: 12_000 };
const self = { pod: "pod-a", incarnation: "2" };
const other: LeaseRecord = { pod: "pod-b", incarnation: "1", renewals: 7, state: "held" };

/** Plays inputs into one lease; both clocks stand at `ms` unless the wall clock is given. */
class Script {
  state: LeaseState = openLease(self);
  ms = 0;
  wallOffset = 1_700_000_000_000;
  actions: readonly LeaseAction[] = [];

  at(ms: number): this {
    this.ms = ms;
    return this;
  }

  context() {
    return { at: { mono: this.ms, wall: this.ms + this.wallOffset }, times };
  }

  input(input: LeaseInput): readonly LeaseAction[] {
    const next = step(this.state, input, this.context());
    this.state = next.state;
    this.actions = next.actions;
    return next.actions;
  }

  seen(record: LeaseRecord | "absent" | "unreadable", revision: number): this {
    this.input({ kind: "seen", record, revision });
    return this;
  }

  tick(wanted = true): readonly LeaseAction[] {
    return this.input({ kind: "tick", wanted });
  }

  isOwner(): boolean {
    return isOwner(this.state, this.context());
  }

  /** The operation just asked for. */
  op(kind: LeaseAction["kind"]): number {
    const action = this.actions.find((candidate) => candidate.kind === kind);
    assert.ok(action !== undefined && "op" in action, `${kind} in ${JSON.stringify(this.actions)}`);
    return action.op;
  }

  /** From a claimable key at `revision` to an owner whose claim was written as `revision + 1`. */
  win(record: LeaseRecord | "absent", revision: number): this {
    this.tick();
    this.input({ kind: "read", op: this.op("read"), revision, record });
    this.input({ kind: "epoch-read", op: this.op("read-epoch"), seq: 40 });
    this.input({ kind: "written", op: this.op("write"), revision: revision + 1 });
    this.input({ kind: "epoch-published", op: this.op("publish-epoch"), seq: 41 });
    return this;
  }
}

function owner(): Script {
  const script = new Script().seen("absent", 0).win("absent", 0);
  assert.equal(script.isOwner(), true);
  return script;
}

describe("step() of a pod that does not hold the lease", () => {
  const cases: readonly {
    readonly name: string;
    readonly record: LeaseRecord | "absent" | "unreadable";
    readonly waitMs: number;
    readonly claims: boolean;
  }[] = [
    { name: "claims a key that never existed", record: "absent", waitMs: 0, claims: true },
    { name: "waits while somebody holds it", record: other, waitMs: 14_999, claims: false },
    { name: "claims what stood unchanged for the TTL", record: other, waitMs: 15_000, claims: true },
    { name: "claims what was released", record: { ...other, state: "released" }, waitMs: 0, claims: true },
    { name: "claims what a witness freed", record: { ...other, state: "freed" }, waitMs: 0, claims: true },
    {
      name: "claims again what it held itself",
      record: { ...self, renewals: 3, state: "held" },
      waitMs: 0,
      claims: true,
    },
    {
      name: "waits for another incarnation of its own pod that it does not know dead",
      record: { ...self, incarnation: "1", renewals: 3, state: "held" },
      waitMs: 100,
      claims: false,
    },
    { name: "never claims what it cannot read", record: "unreadable", waitMs: 1e9, claims: false },
  ];
  for (const { name, record, waitMs, claims } of cases)
    test(name, () => {
      const script = new Script().seen(record, 5).at(waitMs);
      assert.deepEqual(
        script.tick().map(({ kind }) => kind),
        claims ? ["read"] : [],
      );
      assert.deepEqual(new Script().seen(record, 5).at(waitMs).tick(false), []);
    });

  test("starts counting anew with every renewal it sees", () => {
    const script = new Script()
      .seen(other, 5)
      .at(14_000)
      .seen({ ...other, renewals: 8 }, 6);
    assert.deepEqual(script.at(16_000).tick(), []);
    assert.equal(script.at(29_000).tick().length, 1);
  });

  test("does not count anew when the same write is shown again", () => {
    const script = new Script().seen(other, 5).at(14_000).seen(other, 5);
    assert.equal(script.at(15_000).tick().length, 1);
  });

  test("does not claim when the key turns out to be renewed, even under the same revision", () => {
    const script = new Script().seen(other, 5).at(15_000);
    script.tick();
    assert.deepEqual(
      script.input({ kind: "read", op: script.op("read"), revision: 5, record: { ...other, renewals: 9 } }),
      [],
    );
    assert.deepEqual(script.at(16_000).tick(), []);
  });

  test("drops a claim it was preparing when the key is written meanwhile", () => {
    const script = new Script().seen({ ...other, state: "freed" }, 5);
    script.tick();
    script.input({ kind: "read", op: script.op("read"), revision: 5, record: { ...other, state: "freed" } });
    const epoch = script.op("read-epoch");
    script.seen({ pod: "pod-c", incarnation: "1", renewals: 1, state: "held" }, 6);
    assert.deepEqual(script.input({ kind: "epoch-read", op: epoch, seq: 40 }), []);
    assert.deepEqual(script.tick(), []);
  });

  test("takes at once what an earlier start of its pod held, wanted or not", () => {
    const former = { pod: "pod-a", incarnation: "1" };
    const script = new Script().seen({ ...former, renewals: 3, state: "held" }, 5);
    assert.equal(script.input({ kind: "tick", wanted: false, former }).length, 1);
  });

  test("waits for the TTL when a key vanished under its eyes", () => {
    const script = new Script().seen(other, 5).seen("absent", 6);
    assert.deepEqual(script.at(14_999).tick(), []);
    assert.equal(script.at(15_000).tick().length, 1);
  });

  test("ignores a watch that lags behind what it has seen", () => {
    const script = new Script()
      .seen({ ...other, renewals: 8 }, 6)
      .at(10_000)
      .seen(other, 5);
    assert.equal(script.at(15_000).tick().length, 1);
  });

  test("does not become owner by a claim that was answered after the fence", () => {
    const script = new Script().seen("absent", 0);
    script.tick();
    script.input({ kind: "read", op: script.op("read"), revision: 0, record: "absent" });
    script.input({ kind: "epoch-read", op: script.op("read-epoch"), seq: 0 });
    script.at(12_000);
    assert.deepEqual(script.input({ kind: "written", op: script.op("write"), revision: 1 }), []);
    assert.equal(script.isOwner(), false);
  });

  test("resumes a claim whose answer was lost", () => {
    const script = new Script().seen("absent", 0);
    script.tick();
    script.input({ kind: "read", op: script.op("read"), revision: 0, record: "absent" });
    script.input({ kind: "epoch-read", op: script.op("read-epoch"), seq: 0 });
    script.input({ kind: "failed", op: script.op("write") });
    const record = { ...self, renewals: 1, state: "held" } as const;
    script.seen(record, 1).win(record, 1);
    assert.equal(script.isOwner(), true);
  });

  const released = { ...other, state: "released", handOver: { inFlight: [7] } } as const;
  const mine = { ...self, renewals: 1, state: "held" } as const;
  const grounds = { how: "released", from: released };
  const groundsOf = ({ actions }: Script): unknown =>
    actions.flatMap((action) => (action.kind === "owned" ? [action.grounds] : []))[0];

  /** Its claim of what was released is applied, and it has not heard so. */
  function unanswered(): Script {
    const script = new Script().seen(released, 5);
    script.tick();
    script.input({ kind: "read", op: script.op("read"), revision: 5, record: released });
    script.input({ kind: "epoch-read", op: script.op("read-epoch"), seq: 40 });
    return script;
  }

  test("resumes a claim whose answer was lost with what the owner before has left", () => {
    const script = unanswered();
    script.input({ kind: "failed", op: script.op("write") });
    assert.deepEqual(groundsOf(script.seen(mine, 6).win(mine, 6)), grounds);
    // It is told now; what comes after is its own.
    const again = { ...mine, renewals: 2 };
    assert.deepEqual(groundsOf(script.at(20_000).win(again, 7)), { how: "resumed", from: again });
  });

  test("keeps what the owner before has left when it passes its fence before it is told owned", () => {
    const script = unanswered();
    script.input({ kind: "written", op: script.op("write"), revision: 6 });
    assert.deepEqual(groundsOf(script.at(13_000).win(mine, 6)), grounds);
  });

  test("forgets it when another one had the lease in between", () => {
    const script = unanswered();
    script.input({ kind: "failed", op: script.op("write") });
    const third = { pod: "pod-c", incarnation: "1", renewals: 9, state: "released" } as const;
    script.seen(third, 8);
    assert.deepEqual(groundsOf(script.win(third, 8)), { how: "released", from: third });
  });
});

describe("step() of a pod that holds the lease", () => {
  test("owns only once its epoch is published, and says so with the sequence", () => {
    const script = new Script().seen("absent", 0);
    script.tick();
    script.input({ kind: "read", op: script.op("read"), revision: 0, record: "absent" });
    script.input({ kind: "epoch-read", op: script.op("read-epoch"), seq: 40 });
    const [claim] = script.actions;
    assert.deepEqual(claim, {
      kind: "write",
      op: 3,
      expected: 0,
      record: { ...self, renewals: 1, state: "held" },
    });
    script.input({ kind: "written", op: 3, revision: 1 });
    assert.deepEqual(script.actions, [{ kind: "publish-epoch", op: 4, expected: 40 }]);
    assert.equal(script.isOwner(), false);
    assert.deepEqual(script.input({ kind: "epoch-published", op: 4, seq: 41 }), [
      { kind: "owned", leaseSeq: 41, grounds: { how: "absent", from: undefined } },
    ]);
    assert.equal(script.isOwner(), true);
  });

  test("renews every 2 s and counts the fence from when the renewal was sent", () => {
    const script = owner();
    assert.deepEqual(script.at(1_999).tick(), []);
    assert.equal(script.at(2_000).tick().length, 1);
    script.at(9_000).input({ kind: "written", op: script.op("write"), revision: 2 });
    assert.equal(script.at(13_999).isOwner(), true);
    assert.equal(script.at(14_000).isOwner(), false);
  });

  test("is fenced by the wall clock too, and by nothing when that goes back", () => {
    const script = owner();
    script.at(5_000).wallOffset += 7_000;
    assert.equal(script.isOwner(), false);
    script.wallOffset -= 1_000_000;
    assert.equal(script.isOwner(), true);
    assert.equal(script.at(12_000).isOwner(), false);
  });

  test("says once that it is fenced, whatever comes first", () => {
    const script = owner();
    script.at(2_000).tick();
    const late = script.op("write");
    assert.deepEqual(script.at(12_000).input({ kind: "written", op: late, revision: 2 }), [
      { kind: "lost", reason: "fenced" },
    ]);
    assert.deepEqual(script.tick(false), []);
  });

  test("a refused renewal is no loss while the key is ours", () => {
    const script = owner();
    script.at(2_000).tick();
    script.input({ kind: "failed", op: script.op("write") });
    script.at(4_000).tick();
    script.input({ kind: "refused", op: script.op("write") });
    const mine = { ...self, renewals: 2, state: "held" } as const;
    script.input({ kind: "read", op: script.op("read"), revision: 2, record: mine });
    // The write of 2 s is the one that was applied.
    assert.equal(script.at(13_999).isOwner(), true);
    assert.equal(script.at(14_000).isOwner(), false);
  });

  for (const [name, record, reason] of [
    ["another's", other, "taken"],
    ["absent", "absent", "taken"],
    ["another incarnation's", { ...self, incarnation: "3", renewals: 1, state: "held" }, "taken"],
    ["freed by a witness", { ...self, renewals: 1, state: "freed" }, "freed"],
  ] as const)
    test(`a refused renewal is a loss when the key is ${name}`, () => {
      const script = owner();
      script.at(2_000).tick();
      script.input({ kind: "refused", op: script.op("write") });
      const read = { kind: "read", op: script.op("read"), revision: 9, record } as const;
      assert.deepEqual(script.input(read), [{ kind: "lost", reason }]);
    });

  test("goes on by the watch when the answers are lost", () => {
    const script = owner();
    script.at(2_000).tick();
    script.at(3_000).seen({ ...self, renewals: 2, state: "held" }, 2);
    assert.equal(script.at(13_000).isOwner(), true);
  });

  test("stops at the moment its release is sent, and leaves its word", () => {
    const script = owner();
    assert.deepEqual(script.input({ kind: "release", handOver: { flying: [7] } }), [
      {
        kind: "write",
        op: 5,
        expected: 1,
        record: { ...self, renewals: 2, state: "released", handOver: { flying: [7] } },
      },
    ]);
    assert.equal(script.isOwner(), false);
    assert.deepEqual(script.input({ kind: "written", op: 5, revision: 2 }), [
      { kind: "lost", reason: "released" },
    ]);
  });

  for (const [what, handOver, reason] of [
    ["with its word", { flying: [7] }, "released"],
    ["without a word", null, "taken"],
  ] as const)
    test(`a release ${what} whose answer is lost: whoever has the key by then found ${reason === "taken" ? "nothing" : "it"}`, () => {
      const script = owner();
      script.input({ kind: "release", handOver });
      script.input({ kind: "failed", op: 5 });
      script.at(4_000).seen(other, 3);
      assert.deepEqual(script.actions.at(-1), { kind: "lost", reason });
    });

  test("a release whose answer is lost until the fence is one all the same", () => {
    const script = owner();
    script.input({ kind: "release", handOver: { flying: [7] } });
    script.input({ kind: "failed", op: 5 });
    assert.deepEqual(script.at(12_000).tick(false), [{ kind: "lost", reason: "released" }]);
  });

  test("a release whose answer is lost is one when the next owner's epoch tells of it first", () => {
    const script = owner();
    script.input({ kind: "release", handOver: { flying: [7] } });
    assert.deepEqual(script.input({ kind: "epoch-lost" }), [{ kind: "lost", reason: "released" }]);
  });

  test("a release that was not sent yet is none", () => {
    const script = owner();
    script.at(2_000).tick();
    script.input({ kind: "release", handOver: { flying: [7] } });
    assert.deepEqual(script.at(12_000).tick(false), [{ kind: "lost", reason: "fenced" }]);
  });

  test("releases after the renewal that is under way", () => {
    const script = owner();
    script.at(2_000).tick();
    const renewal = script.op("write");
    assert.deepEqual(script.input({ kind: "release", handOver: null }), []);
    script.input({ kind: "written", op: renewal, revision: 2 });
    assert.deepEqual(
      script.actions.map((action) => action.kind === "write" && action.record.state),
      ["released"],
    );
  });

  test("repeats a release without an answer and believes the watch that it was applied", () => {
    const script = owner();
    script.input({ kind: "release", handOver: null });
    script.input({ kind: "failed", op: script.op("write") });
    assert.equal(script.at(250).tick().length, 1);
    const record = { ...self, renewals: 2, state: "released" } as const;
    script.seen(record, 2);
    assert.deepEqual(script.actions, [{ kind: "lost", reason: "released" }]);
  });

  test("publishes its epoch again only after a renewal that was sent after reading the old one", () => {
    const script = owner();
    assert.deepEqual(script.at(100).input({ kind: "epoch-lost" }), [{ kind: "lost", reason: "fenced" }]);
    assert.equal(script.isOwner(), false);
    script.tick();
    script.input({ kind: "epoch-read", op: script.op("read-epoch"), seq: 50 });
    const renewal = script.op("write");
    script.input({ kind: "written", op: renewal, revision: 2 });
    assert.deepEqual(script.actions, [{ kind: "publish-epoch", op: renewal + 1, expected: 50 }]);
    script.input({ kind: "epoch-published", op: renewal + 1, seq: 51 });
    assert.deepEqual(script.actions, [
      { kind: "owned", leaseSeq: 51, grounds: { how: "resumed", from: undefined } },
    ]);
  });
});

describe("step() in a pool with drifting clocks and a bad network", () => {
  const world = fc.record({
    seed: fc.integer(),
    pods: fc.integer({ min: 2, max: 4 }),
    drift: fc.double({ min: 0, max: 0.08, noNaN: true }),
    slow: fc.double({ min: 0, max: 0.3, noNaN: true }),
    loss: fc.double({ min: 0, max: 0.4, noNaN: true }),
  });

  test("never has two owners, nor one whose writes the epoch refuses; and ends with the wanted owner", () => {
    let owned = 0;
    fc.assert(
      fc.property(world, (options) => {
        const pool = new World({ ...options, times });
        pool.run(180_000);
        assert.deepEqual(pool.overlaps, []);
        assert.deepEqual(pool.strangers, []);
        owned += pool.owned;
        // What the chaos left on its way may still arrive for 25 s; then one lease's time.
        pool.calm(0);
        pool.run(240_000);
        assert.deepEqual(
          pool.ownersNow().map(({ identity }) => identity.pod),
          ["pod-0"],
        );
        assert.deepEqual(pool.overlaps, []);
        assert.deepEqual(pool.strangers, []);
      }),
      { numRuns: 150 },
    );
    assert.ok(owned > 300, `too few ownerships to mean anything: ${owned}`);
  });

  test("is found out by this very test when the fence is later than the TTL", () => {
    const careless = { ttlMs: 6_000, renewEveryMs: 2_000, fenceMs: 12_000 };
    const found = fc.check(
      fc.property(world, (options) => {
        const pool = new World({ ...options, times: careless });
        pool.run(180_000);
        assert.deepEqual(pool.overlaps, []);
      }),
      { numRuns: 150, endOnFailure: true },
    );
    assert.equal(found.failed, true);
  });
});
