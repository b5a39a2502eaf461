/** Chaos judges itself: what a fault explains and what it does not. All times are made up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FaultKind } from "#e2e/chaos/faults.ts";
import type { Struck } from "#e2e/chaos/schedule.ts";
import { failures, judge, type Seen, type Shown } from "#e2e/chaos/verdict.ts";
import { type Copy, noteBegun, noteCopy, openBooks } from "#e2e/kit/sink-books.ts";

const [pod, other, successor] = [11, 12, 13] as const;
const killAt = 60_000;

/** Answered `at`, begun 5 ms before unless said otherwise. */
function copyBy(by: number, at: number, begunAt = at - 5): Copy {
  return { by, at, begunAt };
}

interface FaultOptions {
  readonly at?: number;
  readonly until?: number;
  readonly pid?: number;
  readonly inFlight?: number | undefined;
}

function fault(cost: FaultKind["cost"], options: FaultOptions = {}): Struck {
  const { at = killAt, until = at, pid, inFlight = 10 } = options;
  const isKill = cost === "kill" || cost === "nats-kill";
  const kind: FaultKind = { name: cost, cost, weight: 1, isKill, strike: async () => {} };
  const victim = pid === undefined ? {} : { pod: { name: `pod-${pid}`, pid, inFlight, askedAt: at - 20 } };
  return { kind, what: "it", at, until, ...victim };
}

interface World {
  readonly struck: readonly Struck[];
  /** By id; each is taken from a client. */
  readonly arrived?: Readonly<Record<string, readonly Copy[]>>;
  readonly refused?: Readonly<Record<string, readonly Copy[]>>;
  readonly returned?: Readonly<Record<string, readonly Copy[]>>;
  readonly doubtful?: Seen["doubtful"];
}

function judged({ struck, arrived = {}, refused = {}, returned = {}, doubtful }: World): Shown {
  const sink = openBooks(1);
  const put = (map: (typeof sink)["arrivals"], all: Readonly<Record<string, readonly Copy[]>>): void => {
    for (const [id, copies] of Object.entries(all))
      for (const copy of copies) {
        noteCopy(map, id, copy);
        noteBegun(sink, copy.by, copy.begunAt);
      }
  };
  put(sink.arrivals, arrived);
  put(sink.refused, refused);
  put(sink.returned, returned);
  const accepted = new Map([...Object.keys(arrived), ...Object.keys(refused)].map((id) => [id, 1000]));
  return judge({
    loads: [{ accepted, refused: [], uncertain: new Set() }],
    sink,
    struck,
    violations: [],
    doubtful: doubtful ?? { count: 0, of: 1000 },
    excused: 0,
    from: 0,
    to: 120_000,
  });
}

interface Case {
  readonly name: string;
  readonly struck: readonly Struck[];
  readonly copies: readonly Copy[];
  readonly isExplained: boolean;
}

const before = (ms: number, by: number = pod): Copy[] => [
  copyBy(by, killAt - ms),
  copyBy(successor, killAt + 2000),
];

const cases: readonly Case[] = [
  { name: "no fault", struck: [], copies: before(100), isExplained: false },
  {
    name: "its pod was killed just after",
    struck: [fault("kill", { pid: pod })],
    copies: before(100),
    isExplained: true,
  },
  {
    name: "another pod was killed",
    struck: [fault("kill", { pid: other })],
    copies: before(100),
    isExplained: false,
  },
  {
    name: "the pod of the second copy was killed",
    struck: [fault("kill", { pid: successor })],
    copies: before(100),
    isExplained: false,
  },
  {
    name: "its pod was killed 1.1 s after",
    struck: [fault("kill", { pid: pod })],
    copies: before(1100),
    isExplained: false,
  },
  {
    name: "its pod had been killed for 0.6 s",
    struck: [fault("kill", { pid: pod })],
    copies: before(-600),
    isExplained: false,
  },
  {
    name: "its pod was killed only after the second copy",
    struck: [fault("kill", { pid: pod })],
    copies: [copyBy(pod, killAt - 200), copyBy(successor, killAt - 100)],
    isExplained: false,
  },
  {
    name: "nobody knows who sent it",
    struck: [fault("kill", { pid: pod })],
    copies: before(100, 0),
    isExplained: false,
  },
  {
    name: "its pod was told to stop",
    struck: [fault("order", { pid: pod })],
    copies: before(100),
    isExplained: false,
  },
  {
    name: "its pod was killed while NATS was away since before",
    struck: [fault("nats", { at: killAt - 8000, until: killAt + 1000 }), fault("kill", { pid: pod })],
    copies: before(7000),
    isExplained: true,
  },
  {
    name: "another was killed while NATS was away",
    struck: [fault("nats", { at: killAt - 8000, until: killAt + 1000 }), fault("kill", { pid: other })],
    copies: before(7000),
    isExplained: false,
  },
  {
    name: "NATS was away, and nothing else",
    struck: [fault("nats", { until: killAt + 5000 })],
    copies: before(100),
    isExplained: false,
  },
  {
    name: "a nats-server was killed just after",
    struck: [fault("nats-kill")],
    copies: before(900),
    isExplained: true,
  },
  {
    name: "a nats-server was killed 1.1 s after",
    struck: [fault("nats-kill", { until: killAt + 9000 })],
    copies: before(1100),
    isExplained: false,
  },
  {
    name: "its pod was cut off; the reply was late",
    struck: [fault("cut", { pid: pod, until: killAt + 20_000 })],
    copies: [copyBy(pod, killAt + 30_000, killAt + 900), copyBy(successor, killAt + 31_000)],
    isExplained: true,
  },
  {
    name: "its pod was cut off, and began it all the same",
    struck: [fault("cut", { pid: pod, until: killAt + 20_000 })],
    copies: [copyBy(pod, killAt + 4000), copyBy(successor, killAt + 31_000)],
    isExplained: false,
  },
  {
    name: "another was cut off",
    struck: [fault("cut", { pid: other, until: killAt + 20_000 })],
    copies: before(-500),
    isExplained: false,
  },
  {
    name: "its pod was frozen; the reply was late",
    struck: [fault("freeze", { pid: pod, until: killAt + 20_000 })],
    copies: [copyBy(pod, killAt + 20_100, killAt - 10), copyBy(successor, killAt + 21_000)],
    isExplained: true,
  },
  {
    name: "its pod was frozen, and began it when it woke",
    struck: [fault("freeze", { pid: pod, until: killAt + 20_000 })],
    copies: [copyBy(pod, killAt + 20_100), copyBy(successor, killAt + 21_000)],
    isExplained: false,
  },
  {
    name: "three copies, two kills of their pods",
    struck: [fault("kill", { pid: pod }), fault("kill", { at: killAt + 2050, pid: successor })],
    copies: [...before(100), copyBy(other, killAt + 4000)],
    isExplained: true,
  },
  {
    name: "three copies, one kill",
    struck: [fault("kill", { pid: pod })],
    copies: [...before(100), copyBy(other, killAt + 4000)],
    isExplained: false,
  },
];

for (const { name, struck, copies, isExplained } of cases)
  test(`judge() of a double: ${name}: ${isExplained ? "owed to it" : "unexplained"}`, () => {
    const shown = judged({ struck, arrived: { m1: copies } });
    assert.equal(shown.doubled, 1);
    assert.equal(shown.unexplained.length, isExplained ? 0 : 1);
    const told = failures(shown).filter((line) => line.startsWith("1 doubled without a fault: m1 ("));
    assert.equal(told.length, isExplained ? 0 : 1, failures(shown).join("\n"));
  });

test("judge() charges a double to its own pod's kill, and tells how long before it was answered", () => {
  const struck = [fault("kill", { pid: pod }), fault("nats-kill", { at: killAt + 10 })];
  const shown = judged({ struck, arrived: { m1: before(150) } });
  const costs = Object.fromEntries(shown.faults.map(({ name, doubled }) => [name, doubled]));
  assert.deepEqual(costs, { kill: 1, "nats-kill": 0 });
  assert.equal(shown.earliestMs, 150);
});

const five = Object.fromEntries(Array.from({ length: 5 }, (_, index) => [`m${index}`, before(100 + index)]));

const tooMany =
  "1 faults that doubled more than was open: kill: it at 60.00 s: 5 doubled, at most 4 were open: m0 (11 at";

for (const [what, inFlight, others, wrong] of [
  ["as many open", 5, [], []],
  ["one less open", 4, [], [tooMany]],
  ["less open, and a server that forgets was killed before they came again", 4, [killAt + 1000], []],
  ["less open, and one was killed after they came again", 4, [killAt + 3000], [tooMany]],
] as const)
  test(`judge() of five doubles of a killed pod that said it had ${what}`, () => {
    const struck = [fault("kill", { pid: pod, inFlight }), ...others.map((at) => fault("nats-kill", { at }))];
    const shown = judged({ struck, arrived: five });
    assert.deepEqual(
      failures(shown).map((line) => line.slice(0, tooMany.length)),
      wrong,
    );
  });

test("judge() adds what a pod began after it was asked, and counts a transaction once, however many recipients it had", () => {
  const late = [copyBy(pod, killAt - 5, killAt - 10), copyBy(successor, killAt + 2000)];
  const struck = [fault("kill", { pid: pod, inFlight: 0 })];
  const shown = judged({ struck, arrived: { "m1.0": late, "m1.1": late } });
  assert.deepEqual(failures(shown), []);
  assert.equal(shown.doubled, 2);
});

for (const [name, refused, isExplained] of [
  ["once", [copyBy(pod, killAt - 100)], false],
  ["twice, as its pod was killed", before(100), true],
  ["twice, as another pod was killed", before(100, other), false],
] as const)
  test(`judge() of a report that came twice, of a message that was refused ${name}`, () => {
    const returned = { m1: [copyBy(other, killAt + 100), copyBy(other, killAt + 3000)] };
    const shown = judged({
      struck: [fault("kill", { pid: pod })],
      refused: { m1: refused },
      returned,
    });
    assert.equal(shown.bounced, 1);
    assert.equal(shown.unexplained.length, isExplained ? 0 : 1);
  });

test("failures() says so when the watch of the limits was not sure too often", () => {
  const struck = [fault("kill", { pid: pod })];
  const arrived = { m1: [copyBy(pod, killAt)] };
  assert.deepEqual(failures(judged({ struck, arrived, doubtful: { count: 10, of: 1000 } })), []);
  assert.match(
    failures(judged({ struck, arrived, doubtful: { count: 11, of: 1000 } })).join(),
    /not sure of 11 of 1000/,
  );
});

test("how long each stream waited is told, the slowest first; what was not delivered, and what came before its 250, is none of it", () => {
  const arrived = Object.fromEntries([
    ...Array.from({ length: 100 }, (_, n) => [`slow${n}-0`, [copyBy(pod, 1000 + n * 10)]]),
    ["quick1-0", [copyBy(pod, 900)]],
    ["quick2-0", [copyBy(pod, 1500)]],
  ]) as Record<string, Copy[]>;
  const { waits } = judged({ struck: [], arrived, refused: { "refused1-0": [copyBy(pod, 5000)] } });
  assert.deepEqual(waits, [
    { stream: "slow", count: 100, medianMs: 490, p99Ms: 980, longestMs: 990 },
    { stream: "quick", count: 2, medianMs: 0, p99Ms: 500, longestMs: 500 },
  ]);
});
