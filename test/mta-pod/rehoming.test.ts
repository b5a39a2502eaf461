import assert from "node:assert/strict";
import { test } from "node:test";
import { shardOf } from "#crds/wire/subject.ts";
import type { StateRecord } from "#crds/wire/state-record.ts";
import type { Loaded } from "#mta-pod/load.ts";
import type { Pod } from "#mta-pod/pod.ts";
import { createRehoming } from "#mta-pod/rehoming.ts";
import type { Dispatch } from "#mta-pod/schedule/types.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const shards = 8;
const stored: Stored = { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0, subject: "mb.q" };
const refused = { kind: "refused", reason: "unavailable" } as unknown as Stored;
const dispatch: Dispatch = {
  handle: 1,
  entry: { shard: 3, seq: 7, idHash: 1, size: 1, receivedAt: 0, expiresAt: 9e12, due: 5, attempt: 0 },
  lane: { site: "old", tenant: "mail/acme", class: "bulk" },
  source: "default",
  connection: "open",
};
const loaded: Loaded = {
  envelope: envelope({ to: ["a@a.example", "b@b.example", "c@c.example", "d@a.example"] }),
  body: Buffer.from("Subject: x\r\n\r\n"),
  subject: "mb.q",
  open: [0, 1, 2, 3],
  stateSeq: 0,
  leaseSeq: 5,
  last: "451 later",
  started: 0,
};
const parts = [
  { site: "old", open: [0, 3] },
  { site: "new", open: [1] },
  { site: "old", open: [2] },
];

interface Circumstances {
  readonly answers?: readonly Stored[];
  readonly found?: Loaded;
  readonly isNoted?: boolean;
  readonly tenureOf?: () => number;
}

/** A pod that notes what is asked of it, in order; resolves once the entry is at rest. */
async function divide({
  answers = [],
  found = loaded,
  isNoted = true,
  tenureOf = () => 1,
}: Circumstances = {}) {
  const done: string[] = [];
  const left = [...answers];
  let ended: boolean | "yes" | undefined;
  const pod = {
    clock: { now: () => 1000, monotonic: () => 1000 },
    scheduler: {
      settle: () => void done.push("settled"),
      defer: (_handle: number, due: number, attempt: number) =>
        void done.push(`due ${due}, attempts ${attempt}`),
    },
    publisher: {
      store(
        { shard, envelope: { site, to, isBodyShared } }: Parameters<Publisher["store"]>[0],
        said: (s: Stored) => void,
      ) {
        done.push(
          `${site} in ${shard === shardOf(site, shards) ? "its shard" : "another"}: ${to.join()}${isBodyShared ? "" : ", alone"}`,
        );
        said(left.shift() ?? stored);
      },
    },
    states: {
      async write(_shard: number, _seq: number, { record }: { record: StateRecord }) {
        done.push(`left: ${record.open.join()} after ${record.attempt}, ${record.last}`);
        return { kind: isNoted ? "written" : "fenced" };
      },
      remove: () => {},
    },
    entries: {
      remove(_entry: unknown, removed: () => void) {
        done.push("removed");
        removed();
      },
    },
    settled: { was: () => false, note: () => {} },
    ownership: { mayProceed: () => true },
  } as unknown as Pod;
  const rehoming = createRehoming(pod, { shards, wake: () => {}, isAwaited: () => false, tenureOf });
  rehoming.divide(dispatch, found, { parts, ended: (isUntried) => (ended = isUntried ?? "yes") });
  await until("its rest", () => ended !== undefined);
  return { done, ended };
}

test("divide() stores each part but the first as an entry of its own, and notes who is left each time", async () => {
  assert.deepEqual(await divide(), {
    done: [
      "new in its shard: b@b.example",
      "left: 0,2,3 after 1, 451 later",
      "old in its shard: c@c.example",
      "left: 0,3 after 1, 451 later",
      "due 1000, attempts 1",
    ],
    ended: false,
  });
});

test("divide() goes on later with what is left when a part cannot be stored", async () => {
  const { done, ended } = await divide({ answers: [stored, refused] });
  assert.deepEqual(done.slice(-3), [
    "left: 0,2,3 after 1, 451 later",
    "old in its shard: c@c.example",
    "due 16000, attempts 1",
  ]);
  assert.equal(ended, false);
  const none = await divide({ answers: [refused] });
  assert.deepEqual(none, { done: ["new in its shard: b@b.example", "due 16000, attempts 0"], ended: true });
});

test("divide() stores the rest anew once a note is refused, as the lease has changed; nothing for a shard that others have had", async () => {
  assert.deepEqual(await divide({ isNoted: false }), {
    done: [
      "new in its shard: b@b.example",
      "left: 0,2,3 after 1, 451 later",
      "old in its shard: a@a.example,c@c.example,d@a.example",
      "removed",
      "settled",
    ],
    ended: "yes",
  });
  let tenure = 0;
  const lost = await divide({ tenureOf: () => ++tenure });
  assert.deepEqual(lost, { done: ["due 16000, attempts 0"], ended: true });
});

test("divide() first has a large body belong to several: whoever is through with it must not delete it", async () => {
  const found = { ...loaded, envelope: { ...loaded.envelope, bodyChunks: 3 } };
  const { done } = await divide({ found });
  assert.deepEqual(done, [
    "old in its shard: a@a.example,b@b.example,c@c.example,d@a.example",
    "removed",
    "settled",
  ]);
  const shared = { ...found, envelope: { ...found.envelope, isBodyShared: true } };
  assert.equal((await divide({ found: shared })).done.length, 5);
});
