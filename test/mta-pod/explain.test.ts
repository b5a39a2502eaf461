import assert from "node:assert/strict";
import { test } from "node:test";
import { createExplain, type Explain } from "#mta-pod/explain.ts";
import { createScheduler } from "#mta-pod/schedule/scheduler.ts";

const now = 1_700_000_000_000;
const id = "01m87d60b4x4q30591x00013bs";
const received = { time: now, id, type: "received", tenant: "mail/a", pool: "mail/p", pod: "pod-0" } as const;

/** Pod 0 of two; pod 1 lives and says nothing. The event stream knows `events`. */
function scene(events: readonly object[]): Explain {
  const none = { counter: { get: async () => ({ values: [] }) } };
  return createExplain({
    pod: {
      name: "pod-0",
      scheduler: createScheduler({ random: () => 0.5, sources: [] }),
      clock: { now: () => now, monotonic: () => performance.now() },
      metrics: { received: none, recipients: none, attempts: none },
      config: () => ({ tenants: new Map([["mail/a", {}]]), manifest: { egress: { sources: [] } } }),
      ownership: { members: () => [{ pod: "pod-0" }, { pod: "pod-1" }] },
      eventLog: { find: async () => ({ events, until: "end" }) },
    } as never,
    peers: {
      serve: () => {},
      ask: async (kind: string) => [{ pod: "pod-0", answer: answers[kind] }],
    } as never,
    acts: {} as never,
    parked: { list: () => [] },
    suspending: { list: () => [] } as never,
  });
}

const answers: Readonly<Record<string, unknown>> = {
  queue: { entries: [], truncated: false },
  top: { tenants: [], sites: [], sources: [], suspensions: [] },
};

test("createExplain().message() names the pods that did not answer: one of them may have it queued", async () => {
  const explain = scene([received]);
  const known = await explain.message(id);
  assert.deepEqual([known?.entries, known?.silent], [[], ["pod-1"]]);
  assert.deepEqual((await explain.message(id, "mail/a"))?.silent, ["pod-1"]);
  explain.stop();
});

test("createExplain().message() does not say that nobody knows an id while a pod is silent, but to tenants", async () => {
  const explain = scene([]);
  assert.deepEqual((await explain.message(id))?.silent, ["pod-1"]);
  assert.equal(await explain.message(id, "mail/a"), null);
  explain.stop();
});

test("createExplain().top() names the pods that did not answer", async () => {
  const explain = scene([]);
  assert.deepEqual((await explain.top()).silent, ["pod-1"]);
  explain.stop();
});
