import assert from "node:assert/strict";
import { test } from "node:test";
import { createElection, type ElectionOptions } from "#operator/kube/election.ts";
import type { Election } from "#operator/kube/types.ts";
import { type FakeApiServer, startFakeApiServer } from "#test/kit/fake-api-server.ts";
import { until } from "#test/kit/until.ts";
import { leases, type ManualClock, manualClock, transportTo } from "./kit.ts";

interface Candidate extends AsyncDisposable {
  readonly election: Election;
  readonly clock: ManualClock;
  readonly lost: string[];
  readonly shown: boolean[];
  /** Moves time in steps of a retry, each step with its requests answered. */
  pass(ms: number): Promise<void>;
}

/** Each candidate has a clock of its own, as machines have. */
function candidate(api: FakeApiServer, identity: string, options: Partial<ElectionOptions> = {}): Candidate {
  const clock = manualClock();
  const lost: string[] = [];
  const shown: boolean[] = [];
  const inner = transportTo(api, clock);
  let open = 0;
  const transport = {
    ...inner,
    json: async (...given: Parameters<typeof inner.json>) => {
      open += 1;
      try {
        return await inner.json(...given);
      } finally {
        open -= 1;
      }
    },
  };
  const election = createElection({
    client: { transport },
    namespace: "mail",
    name: "mailboat-operator",
    identity,
    onLost: (reason) => lost.push(reason),
    clock,
    random: () => 0,
    metrics: { request: () => undefined, leading: (_, is) => shown.push(is), queue: () => assert.fail() },
    ...options,
  });
  /** Until all requests are answered, or one hangs. */
  const quiet = async () => {
    let still = 0;
    for (let n = 0; n < 200 && still < 5; n += 1) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      still = open === 0 ? still + 1 : 0;
    }
  };
  return {
    election,
    clock,
    lost,
    shown,
    async pass(ms) {
      for (let passed = 0; passed < ms; passed += 500) {
        clock.advance(500);
        await quiet();
      }
    },
    async [Symbol.asyncDispose]() {
      const done = election.release();
      for (let n = 0; n < 20; n += 1) {
        clock.advance(1000);
        await quiet();
      }
      await done;
    },
  };
}

function holder(api: FakeApiServer): unknown {
  return (
    api.state.get(leases, "mail", "mailboat-operator")?.["spec"] as { holderIdentity?: unknown } | undefined
  )?.holderIdentity;
}

test("the first candidate makes the Lease; a leader that renews is never replaced, one that is silent for 15 s by the other's clock is", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  await using a = candidate(api, "a");
  await a.election.acquired;
  const spec = api.state.get(leases, "mail", "mailboat-operator")?.["spec"] as Record<string, unknown>;
  assert.match(String(spec["renewTime"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  assert.deepEqual(
    [spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]],
    ["a", 15, 0],
  );
  await using b = candidate(api, "b");
  for (let n = 0; n < 30; n += 1) {
    await a.pass(2000);
    await b.pass(2000);
  }
  assert.deepEqual([a.election.isLeader(), b.election.isLeader()], [true, false]);
  await b.pass(14_000);
  assert.equal(b.election.isLeader(), false);
  await b.pass(4000);
  assert.deepEqual([b.election.isLeader(), holder(api)], [true, "b"]);
  await a.pass(2000);
  assert.deepEqual([a.election.isLeader(), a.lost.length, a.shown], [false, 1, [false, true, false]]);
  assert.match(a.lost[0] ?? "", /held by b/);
});

test("a leader that cannot renew for 10 s says so, before any other may lead", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  await using a = candidate(api, "a");
  await a.election.acquired;
  api.faults = () => ({ kind: "status", code: 503 });
  await a.pass(9500);
  assert.deepEqual([a.election.isLeader(), a.lost], [true, []]);
  await a.pass(1000);
  assert.deepEqual([a.election.isLeader(), a.lost.length], [false, 1]);
  assert.match(a.lost[0] ?? "", /^no renewal for 10000 ms: .* got 503/, "and why");
  api.faults = undefined;
  await a.pass(20_000);
  assert.equal(a.election.isLeader(), false, "a lost election is over");
});

test("an API server that hangs is the same, and a hung request is given up after 5 s", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  await using a = candidate(api, "a");
  await a.election.acquired;
  let hangs = 0;
  api.faults = () => {
    hangs += 1;
    return hangs === 1 ? { kind: "hang" } : undefined;
  };
  await a.pass(9500);
  assert.deepEqual([a.election.isLeader(), a.lost], [true, []]);
  api.faults = () => ({ kind: "hang" });
  await a.pass(12_000);
  assert.deepEqual([a.election.isLeader(), a.lost.length], [false, 1]);
});

test("isLeader() is false once the time is up, also while no timer has run", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  let late = 0;
  const clock = manualClock();
  const paused = { ...clock, monotonic: () => clock.monotonic() + late };
  await using a = candidate(api, "a", { clock: paused });
  await a.election.acquired;
  assert.equal(a.election.isLeader(), true);
  late = 10_001;
  assert.equal(a.election.isLeader(), false);
});

test("release() gives the Lease up, so that the next candidate leads at its next try", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  await using a = candidate(api, "a");
  await a.election.acquired;
  await using b = candidate(api, "b");
  await b.pass(2000);
  await a.election.release();
  assert.deepEqual([holder(api), a.lost, a.shown.at(-1)], ["", [], false]);
  await b.pass(2500);
  assert.equal(b.election.isLeader(), true);
});

test("a renewal whose answer is lost costs nothing", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  await using a = candidate(api, "a");
  await a.election.acquired;
  let lost = 0;
  api.faults = ({ method }) => {
    if (method !== "PUT" || lost > 1) return undefined;
    lost += 1;
    return { kind: "cut-answer" };
  };
  await a.pass(30_000);
  assert.deepEqual([a.election.isLeader(), lost, a.lost], [true, 2, []]);
});

test("of two that try at one moment one leads", async () => {
  await using api = await startFakeApiServer({ types: [leases] });
  const all = Array.from({ length: 5 }, (_, index) => candidate(api, `c${index}`));
  await until("a leader", () => all.some(({ election }) => election.isLeader()));
  for (let n = 0; n < 10; n += 1) for (const one of all) await one.pass(2000);
  assert.equal(all.filter(({ election }) => election.isLeader()).length, 1);
  for (const one of all) await one[Symbol.asyncDispose]();
});

test("times that cannot be safe are refused", () => {
  const options = {
    client: { transport: {} },
    renewMs: 15_000,
    clock: manualClock(),
  } as unknown as ElectionOptions;
  assert.throws(() => createElection(options), RangeError);
});
