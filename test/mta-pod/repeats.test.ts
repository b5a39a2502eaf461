import assert from "node:assert/strict";
import { test } from "node:test";
import type { Envelope } from "#crds/wire/envelope.ts";
import { parentSite } from "#crds/wire/subject.ts";
import { createSettled, RecentIds } from "#mta-pod/recent-ids.ts";
import { createRepeats } from "#mta-pod/repeats.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import type { Entries } from "#mta-pod/spool/entries.ts";
import { envelope } from "#test/kit/spool.ts";

/** Entries that note what is asked of them; removals end when the test says so. */
function world() {
  const calls: string[] = [];
  const ends: (() => void)[] = [];
  const entries: Pick<Entries, "remove" | "removeBody"> = {
    remove({ shard, seq, entry, subject }, done) {
      calls.push(`remove ${shard}:${seq} ${entry?.id} ${subject}`);
      ends.push(() => done("removed"));
    },
    removeBody: async (id) => calls.push(`remove body ${id}`) > 0,
  };
  const recent = new RecentIds();
  const repeats = createRepeats({
    entries: entries as Entries,
    log: silentLog,
    settled: createSettled(recent, { settledLog: { note: () => {} }, clock: { monotonic: () => 0 } }),
  });
  const drop = (fields: Partial<Envelope>): void =>
    repeats.drop({ shard: 3, seq: 41, subject: "mb.q" }, envelope({ id: "mail-id", ...fields }), () =>
      calls.push("done"),
    );
  return { calls, recent, repeats, drop, end: () => ends.shift()?.() };
}

test("what was settled is a repeat when it comes again; another recipient's part of the same message is none", () => {
  const { repeats, recent } = world();
  const mail = envelope({ id: "mail-id" });
  assert.equal(repeats.isRepeat(mail), false);
  recent.settled(mail, 0);
  assert.equal(repeats.isRepeat(mail), true);
  assert.equal(repeats.isRepeat({ ...mail, to: ["other@example.net"] }), false);
});

test("a repeat is deleted as the message that it is, and is done when that is acknowledged", () => {
  const { calls, drop, end } = world();
  drop({});
  assert.deepEqual(calls, ["remove 3:41 mail-id mb.q"]);
  end();
  assert.deepEqual(calls.slice(1), ["done"]);
});

test("a large body goes after its entry, unless other entries share it", () => {
  const cases: [Partial<Envelope>, string[]][] = [
    [{ bodyChunks: 2 }, ["remove body mail-id"]],
    [{ bodyChunks: 2, isBodyShared: true }, []],
    // Its children have it.
    [{ bodyChunks: 2, site: parentSite }, []],
  ];
  for (const [fields, expected] of cases) {
    const { calls, drop, end } = world();
    drop(fields);
    assert.equal(calls.length, 1, "not before the entry");
    end();
    assert.deepEqual(calls.slice(1), [...expected, "done"]);
  }
});
