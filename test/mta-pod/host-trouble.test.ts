import assert from "node:assert/strict";
import { test } from "node:test";
import { createHostTrouble } from "#mta-pod/host-trouble.ts";
import type { Decision } from "#mta-pod/settle/decide.ts";

const decided = { recipients: [], notify: [], possibleDuplicate: false } as const;
const taken: Decision = { ...decided, next: { kind: "done" }, feedback: "good" };
const away: Decision = {
  ...decided,
  next: { kind: "requeue", reason: "connect", text: "refused" },
  feedback: "unreachable",
};

function world() {
  const now = { at: 1000 };
  const clock = { now: () => 1e12 + now.at, monotonic: () => now.at };
  const trouble = createHostTrouble({ clock, random: () => 0.5 });
  const at = (hosts: string, startedAt = now.at) => ({ site: "provider", hosts, startedAt });
  return {
    now,
    trouble,
    reach: (hosts: string) => assert.equal(trouble.apart(at(hosts), taken, true), taken),
    fail: (hosts: string, startedAt?: number) => trouble.apart(at(hosts, startedAt), away, false),
  };
}

test("while others at the site are reached, hosts that are not are left alone, longer each time, and the site goes on", () => {
  const { now, trouble, reach, fail } = world();
  reach("fine");
  const { feedback, next } = fail("dead");
  assert.deepEqual([feedback, next], ["neutral", { ...away.next, due: 1e12 + 1000 + 5000 }]);
  assert.deepEqual([trouble.waitMs("dead"), trouble.waitMs("fine")], [5000, 0]);
  fail("dead", 900);
  assert.equal(trouble.waitMs("dead"), 5000, "begun before: the same failure");
  now.at += 6000;
  assert.equal(trouble.waitMs("dead"), 0);
  reach("fine");
  fail("dead");
  assert.equal(trouble.waitMs("dead"), 10_000);
  reach("dead");
  assert.equal(trouble.waitMs("dead"), 0);
});

test("it is the site's trouble when nobody else was reached there, of late or ever, or one after another fails", () => {
  const { now, reach, fail } = world();
  assert.equal(fail("dead"), away, "nobody yet");
  reach("dead");
  assert.equal(fail("dead"), away, "themselves alone");
  reach("fine");
  assert.equal(fail("one").feedback, "neutral");
  assert.equal(fail("two").feedback, "neutral");
  assert.equal(fail("three"), away, "the third in a row");
  reach("fine");
  assert.equal(fail("three").feedback, "neutral");
  now.at += 61_000;
  assert.equal(fail("one"), away, "long ago");
});

test("what was refused without a connection says nothing of its hosts", () => {
  const { trouble, fail } = world();
  trouble.apart({ site: "provider", hosts: "unseen", startedAt: 0 }, taken, false);
  assert.equal(fail("dead"), away);
});
