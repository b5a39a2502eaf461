import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Bucket } from "#mta-pod/spool/bucket.ts";
import { createHeartbeat } from "#mta-pod/spool/heartbeat.ts";
import { decodeMember } from "#mta-pod/spool/lease-record.ts";

/** What the others read of a beat with this payload. */
async function read(payload: Readonly<Record<string, unknown>>) {
  const written: string[] = [];
  const bucket: Pick<Bucket, "writeFor"> = {
    async writeFor(_key, text) {
      written.push(text);
      return { kind: "written", seq: 1 };
    },
  };
  const self = { pod: "pod-0", incarnation: "1" };
  const heartbeat = createHeartbeat({ bucket: bucket as Bucket, self, startedAt: 0, log: silentLog });
  assert.ok(await heartbeat.beat("live", payload));
  return decodeMember(written[0] ?? "")?.payload;
}

const small = { underWay: [[3, 2]], slices: { hot: 4 } };

test("a beat tells what it is given", async () => {
  const payload = { open: [["mx:one", "default", 2]], ...small };
  assert.deepEqual(await read(payload), payload);
});

test("of a beat that is too large only what is open is left out: others wait for slices, and count what is under way", async () => {
  const open = Array.from({ length: 500 }, () => ["é".repeat(70), "default", 2]);
  assert.deepEqual(await read({ open, ...small }), small);
});
