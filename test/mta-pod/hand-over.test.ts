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
  scheduler.setSite("s", { limits: { connections: 2 } }, now);
  const times = { receivedAt: now, expiresAt: now + 1e9, due: 0, attempt: 0 };
  for (const seq of [1, 2])
    scheduler.add(
      { site: "s", tenant: "a", class: "transactional" },
      { shard: 0, seq, idHash: seq, size: 1, ...times },
      now,
    );
  const inFlight = new Set<number>();
  for (const step of [scheduler.next(now), scheduler.next(now)])
    if (step.kind === "dispatch") inFlight.add(step.dispatch.entry.seq);
  assert.deepEqual([...inFlight], [1, 2]);
  if (endsByItself) inFlight.clear();
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
    abandon() {
      inFlight.clear();
      scheduler.connectionClosed("s", "default", now);
      scheduler.connectionClosed("s", "default", now);
    },
  });
  return leaving.quiesce(0);
}

const openIn = (record: unknown): readonly number[] | undefined =>
  decodeHandOver(record, now)?.sites.flatMap(({ sources }) => sources.map(({ open }) => open));

test("connections that a leaving owner cuts off are told as open, since their peer may not have noticed yet", async () => {
  assert.deepEqual(openIn(await scene({ endsByItself: false })), [2]);
});

test("connections that ended by themselves are not", async () => {
  assert.deepEqual(openIn(await scene({ endsByItself: true })), [0]);
});
