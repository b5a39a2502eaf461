import assert from "node:assert/strict";
import { test } from "node:test";
import { createLeaving } from "#mta-pod/hand-over.ts";
import { decodeHandOver } from "#mta-pod/hand-over-record.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const now = 1_700_000_000_000;

/** A shard with one site of two connections, both in a transaction; those of `waits` are behind their dot, and cannot be cut off. */
function scene({ endsByItself, waits = [] }: { endsByItself: boolean; waits?: readonly number[] }) {
  const scheduler = createScheduler({ random: () => 0.5, sources: [{ name: "default", weight: 1 }] });
  scheduler.setTenants(new Map([["a", { weight: 1, held: false }]]), now);
  scheduler.setSite("s", { limits: { connections: 2, perTenant: { connections: 2 } } }, now);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  for (const seq of [1, 2])
    scheduler.add(
      { site: "s", tenant: "a", class: "transactional" },
      { shard: 0, seq, idHash: seq, size: 1, ...times },
      now,
    );
  const inFlight = new Set<number>();
  const handles: number[] = [];
  for (const step of [scheduler.next(now), scheduler.next(now)])
    if (step.kind === "dispatch") {
      inFlight.add(step.dispatch.entry.seq);
      handles.push(step.dispatch.handle);
    }
  assert.deepEqual([...inFlight], [1, 2]);
  const end = (): void => {
    inFlight.clear();
    for (const seq of waits) inFlight.add(seq);
    for (const handle of handles)
      scheduler.finish(handle, { feedback: "neutral", connection: "closed" }, now);
  };
  if (endsByItself) end();
  const leaving = createLeaving({
    scheduler,
    clock: { now: () => now, monotonic: () => 0 },
    inFlight: () => inFlight,
    shardOf: () => 0,
    retire: () => {},
    closeIdle: () => {},
    former: () => [],
    suspicion: () => undefined,
    untoldSince: () => undefined,
    abandon: end,
  });
  return { leaving, record: leaving.quiesce(0) };
}

const openIn = (record: unknown): readonly number[] | undefined =>
  decodeHandOver(record, now)?.sites.flatMap(({ sources }) => sources.map(({ open }) => open));

const busyIn = (record: unknown) =>
  decodeHandOver(record, now)?.sites.flatMap(({ budgets }) =>
    budgets?.told.map(({ name, busy }) => [name, busy]),
  );

test("connections that a leaving owner cuts off are told as open, since their peer may not have noticed yet", async () => {
  const record = await scene({ endsByItself: false }).record;
  assert.deepEqual(openIn(record), [2]);
  assert.deepEqual(busyIn(record), [["a", 2]], "and as their tenant's");
});

test("connections that ended by themselves are not", async () => {
  const record = await scene({ endsByItself: true }).record;
  assert.deepEqual(openIn(record), [0]);
  assert.deepEqual(busyIn(record), []);
});

test("what still waits for its reply is awaited by the next owner, until the shard is taken back or lost otherwise", async () => {
  const { leaving, record } = scene({ endsByItself: false, waits: [2] });
  assert.deepEqual(decodeHandOver(await record, now)?.inFlight, [2]);
  leaving.over(0, true);
  assert.deepEqual([leaving.isAwaited(0, 1), leaving.isAwaited(0, 2)], [false, true]);
  leaving.over(0);
  assert.equal(leaving.isAwaited(0, 2), false);
});
