import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Spool } from "#mta-pod/spool/connection.ts";
import { createDeletions } from "#mta-pod/spool/deletions.ts";
import type { Answer } from "#mta-pod/spool/request-inbox.ts";

/** A spool that answers when the test says so. */
function world() {
  const requests: ((answer: Answer) => void)[] = [];
  let reconnected = (): void => {};
  const spool = {
    options: { clock: { monotonic: () => 0, now: () => 0 }, log: silentLog },
    timers: { every: () => () => {} },
    closing: new AbortController().signal,
    request: (_call: unknown, done: (answer: Answer) => void) => void requests.push(done),
    onReconnect(listener: () => void) {
      reconnected = listener;
      return () => {};
    },
  } as unknown as Spool;
  return { deletions: createDeletions(spool), requests, reconnect: () => reconnected() };
}

test("createDeletions() a delete whose time was over before the connection broke is looked at again after that", async () => {
  const { deletions, requests, reconnect } = world();
  const looked: string[] = [];
  const removed = new Promise((resolve) =>
    deletions.remove(
      {
        stream: "s",
        seq: 7,
        async verify() {
          looked.push("looked");
          return "other";
        },
      },
      resolve,
    ),
  );
  assert.equal(requests.length, 1);
  requests[0]?.({ kind: "none", reason: "timeout" });
  reconnect();
  assert.equal(await removed, "removed", "by whoever lost it");
  assert.deepEqual([looked, requests.length], [["looked"], 1], "another entry has that sequence by now");
});
