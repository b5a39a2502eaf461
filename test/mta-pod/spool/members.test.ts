import assert from "node:assert/strict";
import { test } from "node:test";
import type { MemberRecord } from "#mta-pod/spool/lease-record.ts";
import { createMemberTable } from "#mta-pod/spool/members.ts";

const self = { pod: "pod-0", incarnation: "new" };

const record = (pod: string, incarnation: string, state: MemberRecord["state"] = "live"): MemberRecord => ({
  pod,
  incarnation,
  startedAt: 1,
  beats: 1,
  state,
  payload: { underWay: [[0, incarnation.length]] },
});

test("what a pod told last is kept while it is mourned, and what the process before this one told as well", () => {
  const table = createMemberTable(self, 15_000);
  table.observe("pod.1", 1, { record: record("pod-1", "a"), mono: 0, isNews: true });
  table.observe("pod.1", 2, { record: record("pod-1", "a", "gone"), mono: 1, isNews: true });
  table.observe("pod.0", 3, { record: record("pod-0", "old"), mono: 1, isNews: false });
  table.observe("pod.0", 4, { record: record("pod-0", "new"), mono: 2, isNews: true });
  assert.deepEqual(table.lastPayload({ pod: "pod-1", incarnation: "a" }), { underWay: [[0, 1]] });
  assert.deepEqual(table.lastPayload({ pod: "pod-0", incarnation: "old" }), { underWay: [[0, 3]] });
  assert.equal(table.lastPayload({ pod: "pod-0", incarnation: "older" }), undefined);
  assert.equal(table.lastPayload({ pod: "pod-1", incarnation: "b" }), undefined);
  assert.deepEqual(table.others(3), [], "neither our own pod nor one that is gone");
  assert.equal(table.isDead({ pod: "pod-0", incarnation: "old" }), true);
});

test("who is there already when we come may be alive, and is no member before it is heard", () => {
  const table = createMemberTable(self, 15_000);
  table.observe("pod.1", 1, { record: record("pod-1", "a", "leaving"), mono: 0, isNews: false });
  table.observe("pod.2", 2, { record: record("pod-2", "b", "gone"), mono: 0, isNews: false });
  assert.deepEqual(table.others(1), []);
  const alive = { pod: "pod-1", incarnation: "a", payload: { underWay: [[0, 1]] } };
  assert.deepEqual(table.perhapsAlive(1), [alive]);
  table.observe("pod.1", 3, { record: record("pod-1", "a"), mono: 2, isNews: true });
  assert.deepEqual(table.perhapsAlive(3), [alive]);
  assert.deepEqual(table.perhapsAlive(15_002), [], "silent for too long");
  assert.deepEqual(table.perhapsAlive(15_002, 60_000), [alive], "but not for ever");
  assert.deepEqual(table.perhapsAlive(75_002, 60_000), []);
});
