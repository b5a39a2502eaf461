import assert from "node:assert/strict";
import { test } from "node:test";
import type { NatsConnection } from "@nats-io/transport-node";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Wire } from "#mta-pod/spool/nats-wire.ts";
import { createRequestInbox } from "#mta-pod/spool/request-inbox.ts";

/** An inbox whose writes are counted, on a clock that the test moves. */
function scene() {
  const writes: number[] = [];
  const lingers: { readonly ms: number; readonly run: () => void }[] = [];
  let gathered = 0;
  let now = 0;
  const wire: Wire = {
    publish() {
      gathered++;
      return "gathered";
    },
    flush() {
      writes.push(gathered);
      gathered = 0;
    },
    hear: () => () => {},
  };
  const inbox = createRequestInbox({
    nc: { isClosed: () => false } as NatsConnection,
    wire,
    inbox: "_INBOX.test",
    sharedRoots: "*.a",
    timers: {
      after(ms, run) {
        lingers.push({ ms, run });
        return () => {};
      },
      every: () => () => {},
    },
    monotonic: () => now,
    log: silentLog,
  });
  return {
    writes,
    lingers,
    pass: (ms: number) => void (now += ms),
    ask: (isUrgent = false, bytes = 10) =>
      inbox.request({ subject: "a", payload: Buffer.alloc(bytes), timeoutMs: 1000, isUrgent }, () => {}),
    turn: () => new Promise((resolve) => setImmediate(resolve)),
  };
}

/** So many requests in each of three windows of 100 ms: what comes then knows how busy it is. */
async function after(perWindow: number): Promise<ReturnType<typeof scene>> {
  const made = scene();
  for (let window = 0; window < 3; window++) {
    for (let count = 0; count < perWindow; count++) made.ask();
    made.pass(100);
    await made.turn();
    made.lingers.splice(0).forEach(({ run }) => run());
  }
  made.writes.length = 0;
  return made;
}

test("requests of one turn share a write", async () => {
  const { ask, turn, writes } = scene();
  for (let count = 0; count < 5; count++) ask();
  await turn();
  assert.deepEqual(writes, [5]);
});

test("few requests do not wait for others", async () => {
  const { ask, turn, writes, lingers } = await after(20);
  ask();
  await turn();
  assert.deepEqual([writes, lingers], [[1], []]);
});

test("of many, each waits 8 ms for others, and all go at once", async () => {
  const { ask, turn, writes, lingers } = await after(40);
  ask();
  await turn();
  ask();
  await turn();
  assert.deepEqual([writes, lingers.map(({ ms }) => ms)], [[], [8]]);
  lingers[0]?.run();
  assert.deepEqual(writes, [2]);
});

test("of many, an urgent one takes along who waits", async () => {
  const { ask, turn, writes } = await after(40);
  ask();
  await turn();
  ask(true);
  await turn();
  assert.deepEqual(writes, [2]);
});

test("128 KB go at once", async () => {
  const { ask, writes } = await after(40);
  for (let count = 0; count < 13; count++) ask(false, 10_240);
  assert.deepEqual(writes, [13]);
});
