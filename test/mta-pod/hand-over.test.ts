import assert from "node:assert/strict";
import { test } from "node:test";
import { createLeaving } from "#mta-pod/hand-over.ts";
import { decodeHandOver } from "#mta-pod/hand-over-record.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const now = 1_700_000_000_000;

/** A shard with one site of two connections, both in a transaction. */
function scene({ endsByItself }: { endsByItself: boolean }) {
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
    for (const handle of handles)
      scheduler.finish(handle, { feedback: "neutral", connection: "closed" }, now);
  };
  if (endsByItself) end();
  const leaving = createLeaving({
    scheduler,
    clock: { now: () => now, monotonic: () => 0 },
    inFlight: () => inFlight,
    splitting: () => 0,
    shardOf: () => 0,
    retire: () => {},
    closeIdle: () => {},
    former: () => [],
    suspicion: () => undefined,
    untoldSince: () => undefined,
    abandon: end,
  });
  return leaving.quiesce(0);
}

const openIn = (record: unknown): readonly number[] | undefined =>
  decodeHandOver(record, now)?.sites.flatMap(({ sources }) => sources.map(({ open }) => open));

const busyIn = (record: unknown) =>
  decodeHandOver(record, now)?.sites.flatMap(({ budgets }) =>
    budgets?.told.map(({ name, busy }) => [name, busy]),
  );

test("connections that a leaving owner cuts off are told as open, since their peer may not have noticed yet", async () => {
  const record = await scene({ endsByItself: false });
  assert.deepEqual(openIn(record), [2]);
  assert.deepEqual(busyIn(record), [["a", 2]], "and as their tenant's");
});

test("connections that ended by themselves are not", async () => {
  const record = await scene({ endsByItself: true });
  assert.deepEqual(openIn(record), [0]);
  assert.deepEqual(busyIn(record), []);
});
