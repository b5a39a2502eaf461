import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Envelope } from "#crds/wire/envelope.ts";
import { idHashOf, type StateRecord } from "#crds/wire/state-record.ts";
import { parentSite } from "#crds/wire/subject.ts";
import type { Intake } from "#mta-pod/intake.ts";
import { createParents } from "#mta-pod/parents.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Entries } from "#mta-pod/spool/entries.ts";
import type { Publisher, Stored } from "#mta-pod/spool/publisher.ts";
import type { States } from "#mta-pod/spool/states.ts";
import { envelope } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const body = Buffer.from("Subject: x\r\n\r\n");
const at = { shard: 3, seq: 41 };
const retryMs = 2000;

interface Setting {
  readonly to: readonly string[];
  readonly fields?: Partial<Envelope>;
  readonly state?: StateRecord;
  /** What the nth publish is answered with; default stored. */
  readonly answers?: (count: number) => Stored | undefined;
}

/** A spool of one parent that notes what is done to it, in order. Each domain is a site of its own. */
function world({ to, fields = {}, state, answers }: Setting) {
  const parent = envelope({ id: "parent", site: parentSite, to, size: body.length, ...fields });
  const done: string[] = [];
  const children: { messageId: string | undefined; envelope: Envelope }[] = [];
  const written: StateRecord[] = [];
  const indexed: string[] = [];
  let isGone = false;
  let owned = true;
  const entries: Pick<Entries, "fetch" | "remove"> = {
    fetch: async () => (isGone ? { kind: "gone" } : { kind: "entry", subject: "", envelope: parent, body }),
    remove(_entry, removed) {
      done.push("parent removed");
      isGone = true;
      queueMicrotask(() => removed("removed"));
    },
  };
  const states: Pick<States, "read" | "write" | "remove"> = {
    async read() {
      const last = written.at(-1);
      if (last !== undefined) return { kind: "state", stateSeq: 100 + written.length, record: last };
      return state === undefined ? { kind: "none" } : { kind: "state", stateSeq: 7, record: state };
    },
    async write(_shard, _seq, { record }) {
      written.push(record);
      done.push(`state: ${record.open.length} open`);
      return { kind: "written", stateSeq: 100 + written.length };
    },
    remove: (_shard, stateSeq) => void done.push(`state ${stateSeq} removed`),
  };
  const publisher: Pick<Publisher, "store"> = {
    store(entry, answer) {
      const stored = { kind: "stored", seq: 1, duplicate: false, bodyChunks: 0, subject: "mb.q" } as const;
      const said = answers?.(children.length) ?? stored;
      children.push({ messageId: entry.messageId, envelope: entry.envelope });
      queueMicrotask(() => answer(said));
    },
  };
  const intake: Pick<Intake, "group"> = {
    async group(addresses) {
      const bySite = new Map<string, string[]>();
      for (const address of addresses) {
        const domain = address.slice(address.indexOf("@") + 1);
        bySite.set(domain, [...(bySite.get(domain) ?? []), address]);
      }
      return [...bySite].map(([site, some]) => ({ site, maxAgeMs: undefined, to: some, first: 0 }));
    },
  };
  const pod = {
    log: silentLog,
    entries: entries as Entries,
    states: states as States,
    publisher: publisher as Publisher,
  };
  const parents = createParents({
    pod,
    intake: intake as Intake,
    shards: 8,
    leaseSeqOf: () => 5,
    owns: () => owned,
    stored: (_at, child) => void indexed.push(child.site),
    poison: { failed: () => 2000, park: (_entry, _known, parked) => parked() },
  });
  const split = async (): Promise<void> => {
    parents.split(at.shard, at.seq, parent);
    await until("the parent to be split", () => parents.underWay(at.shard) === 0);
  };
  return { parents, parent, split, children, done, written, indexed, lose: () => void (owned = false) };
}

function addresses(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `user@site${index}.example`);
}

describe("createParents()", () => {
  test("publishes a child for each site, then deletes the parent, and nothing before", async () => {
    const { split, children, done, indexed } = world({
      to: ["a@one.example", "b@two.example", "c@one.example"],
    });
    await split();
    assert.deepEqual(
      children.map(({ messageId, envelope: child }) => [messageId, child.site, child.to]),
      [
        ["parent:0", "one.example", ["a@one.example", "c@one.example"]],
        ["parent:1", "two.example", ["b@two.example"]],
      ],
    );
    assert.deepEqual(indexed, ["one.example", "two.example"]);
    assert.deepEqual(done, ["parent removed"]);
  });

  test("notes progress every 64 children, and removes the note with the parent, last", async () => {
    const { split, children, done } = world({ to: addresses(130) });
    await split();
    assert.equal(children.length, 130);
    assert.deepEqual(done, ["state: 66 open", "state: 2 open", "parent removed", "state 102 removed"]);
  });

  test("goes on where a note says, under the names that the children had before", async () => {
    const idHash = idHashOf("parent");
    const state = { attempt: 0, due: 0, open: [1, 2], idHash, last: "" };
    const { split, children, done } = world({ to: addresses(3), state });
    await split();
    assert.deepEqual(
      children.map(({ messageId }) => messageId),
      ["parent:1", "parent:2"],
    );
    assert.deepEqual(done, ["parent removed", "state 7 removed"]);
  });

  test("a note about another entry that had the sequence before is none", async () => {
    const state = { attempt: 0, due: 0, open: [1], idHash: idHashOf("another"), last: "" };
    const { split, children } = world({ to: addresses(2), state });
    await split();
    assert.equal(children.length, 2);
  });

  test("an address that stands twice goes to one child, with both of its places", async () => {
    const { split, children } = world({ to: ["a@one.example", "a@one.example", "b@two.example"] });
    await split();
    assert.deepEqual(children[0]?.envelope.to, ["a@one.example", "a@one.example"]);
    assert.deepEqual(
      children.map(({ messageId }) => messageId),
      ["parent:0", "parent:2"],
    );
  });

  test("children of a large message share its stored body", async () => {
    const { split, children } = world({ to: addresses(2), fields: { bodyChunks: 3, size: 2_000_000 } });
    await split();
    for (const { envelope: child } of children) {
      assert.deepEqual([child.bodyChunks, child.isBodyShared, child.size], [3, true, 2_000_000]);
    }
  });

  test("tries a child that cannot be stored again after 2 s, and no other: the duplicate window may be over", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const refusal: Stored = { kind: "refused", reason: "unavailable" };
    const { parents, parent, children, done } = world({
      to: addresses(2),
      answers: (count) => (count === 1 ? refusal : undefined),
    });
    parents.split(at.shard, at.seq, parent);
    parents.split(at.shard, at.seq, parent);
    await settle();
    assert.equal(children.length, 2, "a second call for the same parent does nothing");
    assert.deepEqual(done, ["state: 1 open"]);
    assert.equal(parents.underWay(at.shard), 1);
    assert.equal(parents.weightOf("mail/acme"), 2, "it counts as what may come of it");
    assert.equal(parents.weightOf("mail/other"), 0);
    context.mock.timers.tick(retryMs);
    await settle();
    assert.deepEqual(
      children.slice(2).map(({ messageId }) => messageId),
      ["parent:1"],
    );
    assert.deepEqual(done, ["state: 1 open", "parent removed", "state 101 removed"]);
    assert.equal(parents.underWay(at.shard), 0);
    assert.equal(parents.weightOf("mail/acme"), 0);
  });

  test("leaves the parent to the next owner when its shard is gone", async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    const { parents, parent, children, lose } = world({
      to: addresses(2),
      answers: () => ({ kind: "refused", reason: "full" }),
    });
    parents.split(at.shard, at.seq, parent);
    lose();
    await settle();
    context.mock.timers.tick(retryMs);
    await settle();
    assert.equal(children.length, 2);
    assert.equal(parents.underWay(at.shard), 0);
  });
});

/** All promises that wait for nothing but each other come to their end. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
