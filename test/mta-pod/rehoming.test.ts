import assert from "node:assert/strict";
import { test } from "node:test";
import { shardOf } from "#crds/wire/subject.ts";
import type { Moving, StateRecord } from "#crds/wire/state-record.ts";
import type { Ended } from "#mta-pod/attempt-outcome.ts";
import { isMoving, type Loaded } from "#mta-pod/load.ts";
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
  /** Of each note; the rest is written. */
  readonly notes?: readonly ("written" | "fenced" | "unavailable")[];
  readonly tenureOf?: () => number;
}

type Rehoming = ReturnType<typeof createRehoming>;
type Begin = (rehoming: Rehoming, found: Loaded, ended: Ended) => void;

const division: Begin = (rehoming, found, ended) => rehoming.divide(dispatch, found, { parts, ended });

/** A pod that notes what is asked of it, in order; resolves once the entry is at rest. */
async function outcomeOf(
  begin: Begin,
  { answers = [], found = loaded, notes = [], tenureOf = () => 1 }: Circumstances = {},
) {
  const done: string[] = [];
  const ids: (string | undefined)[] = [];
  const left = [...answers];
  const kinds = [...notes];
  let ended: boolean | "yes" | undefined;
  const pod = {
    clock: { now: () => 1000, monotonic: () => 1000 },
    scheduler: {
      entryOf: () => ({}),
      settle: () => void done.push("settled"),
      defer: (_handle: number, due: number, attempt: number) =>
        void done.push(`due ${due}, attempts ${attempt}`),
    },
    publisher: {
      store(
        { shard, messageId, envelope: { site, to, isBodyShared } }: Parameters<Publisher["store"]>[0],
        said: (s: Stored) => void,
      ) {
        ids.push(messageId);
        done.push(
          `${site} in ${shard === shardOf(site, shards) ? "its shard" : "another"}: ${to.join()}${isBodyShared ? "" : ", alone"}`,
        );
        said(left.shift() ?? stored);
      },
    },
    states: {
      async write(_shard: number, _seq: number, { record }: { record: StateRecord }) {
        const { open, attempt, last, moving } = record;
        const goes = moving === undefined ? "" : `, ${moving.open.join()} go to ${moving.site}`;
        done.push(`left: ${open.join()} after ${attempt}, ${last}${goes}`);
        return { kind: kinds.shift() ?? "written", stateSeq: 9 };
      },
      remove: (_shard: number, stateSeq: number) => void done.push(`state ${stateSeq} removed`),
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
  begin(rehoming, found, (isUntried) => (ended = isUntried ?? "yes"));
  await until("its rest", () => ended !== undefined);
  return { done, ended, ids };
}

async function divide(circumstances: Circumstances = {}) {
  const { done, ended } = await outcomeOf(division, circumstances);
  return { done, ended };
}

test("move() stores nothing before it is noted where to; of a note that is refused its owner makes another one later", async () => {
  const move: Begin = (rehoming, found, ended) => rehoming.move(dispatch, found, { site: "new", ended });
  assert.deepEqual((await outcomeOf(move)).done, [
    "left: 0,1,2,3 after 1, 451 later, 0,1,2,3 go to new",
    "new in its shard: a@a.example,b@b.example,c@c.example,d@a.example, alone",
    "removed",
    "settled",
    "state 9 removed",
  ]);
  for (const kind of ["fenced", "unavailable"] as const)
    assert.deepEqual((await outcomeOf(move, { notes: [kind] })).done, [
      "left: 0,1,2,3 after 1, 451 later, 0,1,2,3 go to new",
      "due 16000, attempts 1",
    ]);
});

test("finish() stores what is noted once more under the same id, then deletes the entry, or notes who is left", async () => {
  const move: Begin = (rehoming, found, ended) => rehoming.move(dispatch, found, { site: "new", ended });
  const finishing = (moving: Moving) => ({ ...loaded, moving });
  const finish: Begin = (rehoming, found, ended) => {
    assert.ok(isMoving(found));
    rehoming.finish({ ...dispatch, entry: { ...dispatch.entry, attempt: 1 } }, found, ended);
  };
  const all = { site: "new", open: [0, 1, 2, 3], attempt: 0, isBodyShared: false };
  const whole = await outcomeOf(finish, { found: finishing(all) });
  assert.deepEqual(whole.done, [
    "new in its shard: a@a.example,b@b.example,c@c.example,d@a.example, alone",
    "removed",
    "settled",
  ]);
  assert.deepEqual(whole.ids, (await outcomeOf(move)).ids);
  const part = await outcomeOf(finish, { found: finishing({ ...all, open: [1], isBodyShared: true }) });
  assert.deepEqual(part.done, [
    "new in its shard: b@b.example",
    "left: 0,2,3 after 1, 451 later",
    "due 1000, attempts 1",
  ]);
  assert.equal(part.ids[0], (await outcomeOf(division)).ids[0]);
});

test("divide() notes where each part but the first goes, stores it as an entry of its own, and notes who is left", async () => {
  assert.deepEqual(await divide(), {
    done: [
      "left: 0,1,2,3 after 1, 451 later, 1 go to new",
      "new in its shard: b@b.example",
      "left: 0,2,3 after 1, 451 later, 2 go to old",
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
    "left: 0,2,3 after 1, 451 later, 2 go to old",
    "old in its shard: c@c.example",
    "due 16000, attempts 1",
  ]);
  assert.equal(ended, false);
  const none = await divide({ answers: [refused] });
  assert.deepEqual(none.done.slice(-2), ["new in its shard: b@b.example", "due 16000, attempts 1"]);
});

test("divide() stores the rest anew once a note is refused, as the lease has changed; nothing for a shard that others have had", async () => {
  assert.deepEqual(await divide({ notes: ["written", "fenced"] }), {
    done: [
      "left: 0,1,2,3 after 1, 451 later, 1 go to new",
      "new in its shard: b@b.example",
      "left: 0,2,3 after 1, 451 later, 2 go to old",
      "old in its shard: a@a.example,c@c.example,d@a.example",
      "removed",
      "settled",
      "state 9 removed",
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
    "left: 0,1,2,3 after 1, 451 later, 0,1,2,3 go to old",
    "old in its shard: a@a.example,b@b.example,c@c.example,d@a.example",
    "removed",
    "settled",
    "state 9 removed",
  ]);
  const shared = { ...found, envelope: { ...found.envelope, isBodyShared: true } };
  assert.equal((await divide({ found: shared })).done.length, 6);
});
