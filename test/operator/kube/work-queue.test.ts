import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { QueueGauges } from "#operator/kube/types.ts";
import { createWorkQueue, type WorkQueueOptions } from "#operator/kube/work-queue.ts";
import { manualClock, settle } from "./kit.ts";

interface Run {
  readonly key: string;
  readonly signal: AbortSignal;
  finish(result?: { requeueAfterMs?: number }): void;
  fail(error: unknown): void;
}

/** A queue whose reconciles wait to be ended by the test. */
function world(options: Partial<WorkQueueOptions> = {}) {
  const clock = manualClock();
  const started: Run[] = [];
  const counted: string[] = [];
  let read: (() => QueueGauges) | undefined;
  const queue = createWorkQueue({
    name: "pools",
    workers: 1,
    baseMs: 100,
    maxMs: 1000,
    clock,
    random: () => 1,
    reconcile: (key, signal) => new Promise((finish, fail) => started.push({ key, signal, finish, fail })),
    metrics: {
      request: () => undefined,
      leading: () => undefined,
      queue: (_, gauges) => {
        read = gauges;
        const count = (what: string) => () => void counted.push(what);
        return {
          added: count("added"),
          retried: count("retried"),
          started: count("started"),
          ended: (result) => counted.push(result),
          panicked: count("panicked"),
          timedOut: count("timedOut"),
        };
      },
    },
    ...options,
  });
  return {
    clock,
    queue,
    started,
    counted,
    keys: () => started.map(({ key }) => key).join(" "),
    gauges: () => read?.() ?? assert.fail("no gauges"),
    async end(index: number, result?: { requeueAfterMs?: number }) {
      started[index]?.finish(result);
      await settle(3);
    },
    async fail(index: number, error: unknown = new Error("trouble")) {
      started[index]?.fail(error);
      await settle(3);
    },
  };
}

test("add() of a key that waits adds nothing", async () => {
  const { queue, keys, end } = world();
  for (const key of ["a", "b", "b", "c", "b"]) queue.add(key);
  assert.equal(queue.depth(), 2);
  for (const index of [0, 1, 2, 3]) await end(index);
  assert.equal(keys(), "a b c");
});

test("add() of a key in flight runs it once more, afterwards, and never twice at a time", async () => {
  const { queue, keys, end } = world({ workers: 4 });
  queue.add("a");
  for (let n = 0; n < 3; n += 1) queue.add("a");
  assert.deepEqual([keys(), queue.depth()], ["a", 0]);
  await end(0);
  assert.equal(keys(), "a a");
  await end(1);
  assert.equal(keys(), "a a");
});

test("edits go before the initial list, also for a key that waits in it already; the list has a turn in eleven", async () => {
  const { queue, keys, end } = world();
  queue.add("first");
  for (const key of ["l1", "l2", "l3"]) queue.add(key, { priority: "low" });
  queue.add("h1");
  queue.add("l3");
  for (let index = 0; index < 5; index += 1) await end(index);
  assert.equal(keys(), "first h1 l3 l1 l2");
  const other = world();
  for (let n = 0; n < 30; n += 1) other.queue.add(`h${n}`);
  other.queue.add("low", { priority: "low" });
  for (let index = 0; index < 31; index += 1) await other.end(index);
  assert.equal(
    other.started.findIndex(({ key }) => key === "low"),
    10,
  );
});

test("failures wait twice as long each time, up to the bound, with jitter, and success forgets them", async () => {
  const { queue, clock, started, counted, end, fail } = world();
  queue.add("a");
  for (const [index, wait] of [100, 200, 400, 800, 1000, 1000].entries()) {
    await fail(index);
    clock.advance(wait - 1);
    assert.equal(started.length, index + 1, `not before ${wait} ms`);
    clock.advance(1);
    assert.equal(started.length, index + 2, `after ${wait} ms`);
  }
  await end(6);
  queue.add("a");
  await fail(7);
  clock.advance(100);
  assert.equal(started.length, 9);
  assert.deepEqual(
    [counted.filter((what) => what === "error").length, counted.filter((what) => what === "retried").length],
    [7, 7],
  );
});

test("an error that names a time is waited for so long; a bug is counted apart", async () => {
  const { queue, clock, started, counted, fail } = world();
  queue.add("a");
  await fail(0, Object.assign(new Error("429"), { retryAfterMs: 700 }));
  clock.advance(699);
  assert.equal(started.length, 1);
  clock.advance(1);
  assert.equal(started.length, 2);
  assert.ok(!counted.includes("panicked"));
  await fail(1, new TypeError("undefined is not a function"));
  assert.ok(counted.includes("panicked"));
});

test("addAfter() takes the earliest of several times, and requeueAfterMs the same way", async () => {
  const { queue, clock, keys, counted, end } = world();
  queue.addAfter("a", 500);
  queue.addAfter("a", 300);
  queue.addAfter("a", 900);
  clock.advance(299);
  assert.equal(keys(), "");
  clock.advance(1);
  assert.equal(keys(), "a");
  await end(0, { requeueAfterMs: 50 });
  clock.advance(50);
  assert.equal(keys(), "a a");
  await end(1);
  clock.advance(10_000);
  assert.equal(keys(), "a a");
  assert.deepEqual(
    counted.filter((what) => what !== "added" && what !== "started"),
    ["requeue_after", "success"],
  );
});

test("a reconcile that asks for nothing more takes back what an earlier one asked for, and no addAfter()", async () => {
  const { clock, queue, started, end, keys } = world();
  queue.add("a");
  await end(0, { requeueAfterMs: 50 });
  queue.add("a");
  await end(1);
  clock.advance(60);
  assert.equal(keys(), "a a");
  queue.add("a");
  await end(2, { requeueAfterMs: 50 });
  queue.addAfter("a", 80);
  queue.add("a");
  await end(3);
  clock.advance(90);
  assert.equal(keys(), "a a a a a");
  assert.equal(started.length, 5);
});

test("a reconcile above its time has its signal aborted, and keeps its key until it ends", async () => {
  const { queue, clock, started, counted, end } = world({ timeoutMs: 1000, workers: 2 });
  queue.add("a");
  clock.advance(1000);
  assert.equal(started[0]?.signal.aborted, true);
  queue.add("a");
  assert.equal(started.length, 1);
  await end(0);
  assert.equal(started.length, 2);
  assert.ok(counted.includes("timedOut"));
});

test("stop() starts nothing more, aborts what runs and waits for its end", async () => {
  const { queue, clock, started, keys } = world();
  queue.add("a");
  queue.add("b");
  queue.addAfter("c", 10);
  let stopped = false;
  const stop = queue.stop().then(() => {
    stopped = true;
  });
  await settle(3);
  assert.deepEqual([stopped, started[0]?.signal.aborted], [false, true]);
  started[0]?.finish();
  await stop;
  clock.advance(1000);
  queue.add("d");
  assert.equal(keys(), "a");
});

test("gauges show what waits, what runs and for how long", () => {
  const { queue, clock, gauges } = world({ workers: 2 });
  for (const key of ["a", "b", "c"]) queue.add(key);
  queue.add("d", { priority: "low" });
  clock.advance(3000);
  assert.deepEqual(gauges(), {
    high: 1,
    low: 1,
    active: 2,
    workers: 2,
    unfinishedSeconds: 6,
    longestSeconds: 3,
  });
});

test("whatever is added, ended and failed: no key runs twice at a time, and after its last add each key runs once more", async () => {
  const step = fc.record({
    act: fc.constantFrom("add", "low", "later", "end", "fail", "time"),
    key: fc.constantFrom("a", "b", "c", "d"),
    at: fc.nat(5),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, workers) => {
        const { queue, clock, started } = world({ workers });
        const open = new Set<Run>();
        let looked = 0;
        const dirty = new Set<string>();
        const look = () => {
          for (const run of started.slice(looked)) {
            for (const other of open) assert.notEqual(other.key, run.key, "twice at a time");
            open.add(run);
            dirty.delete(run.key);
          }
          looked = started.length;
          assert.ok(open.size <= workers);
        };
        const close = async (run: Run | undefined, isGood: boolean) => {
          if (run === undefined) return;
          open.delete(run);
          if (isGood) run.finish();
          else run.fail(new Error("trouble"));
          await settle(3);
        };
        for (const { act, key, at } of steps) {
          if (act === "add" || act === "low") {
            dirty.add(key);
            queue.add(key, { priority: act === "low" ? "low" : "high" });
          } else if (act === "later") {
            dirty.add(key);
            queue.addAfter(key, at * 100);
          } else if (act === "time") clock.advance(at * 100);
          else await close([...open][at % (open.size || 1)], act === "end");
          look();
        }
        for (let n = 0; n < 50; n += 1) {
          clock.advance(1000);
          look();
          await close([...open][0], true);
          look();
        }
        assert.deepEqual([[...dirty], open.size, queue.depth()], [[], 0, 0]);
      },
    ),
    { numRuns: 100 },
  );
});
