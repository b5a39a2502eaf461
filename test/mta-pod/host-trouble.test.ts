import assert from "node:assert/strict";
import { test } from "node:test";
import { createHostTrouble } from "#mta-pod/host-trouble.ts";
import type { SiteRoute } from "#mta-pod/route/router.ts";
import type { Decision } from "#mta-pod/settle/decide.ts";
import { ownReply, reply } from "#mta-pod/smtp/reply.ts";
import type { Fault, TransactionResult } from "#mta-pod/smtp/transaction.ts";

const decided = { recipients: [], notify: [], possibleDuplicate: false } as const;
const taken: Decision = { ...decided, next: { kind: "done" }, feedback: "good" };
const away: Decision = {
  ...decided,
  next: { kind: "requeue", reason: "connect", text: "refused" },
  feedback: "unreachable",
};
const answered: TransactionResult = { kind: "answered", replies: [reply(250, "2.0.0", "ok")] };
const silence: Fault = { stage: "connect", kind: "timeout", text: "no answer" };
const site = { id: "provider", rule: { match: { mxSuffixes: [".hoster.example"] } } } as unknown as SiteRoute;
const wall = 1e12;

function world() {
  const now = { at: 1000 };
  const clock = { now: () => wall + now.at, monotonic: () => now.at };
  const trouble = createHostTrouble({ clock, random: () => 0.5 });
  const at = (hosts: string, startedAt = now.at, source = "default") => ({
    site,
    source,
    hosts,
    domain: `${hosts}.example`,
    startedAt,
    probeUntil: 0,
  });
  return {
    now,
    trouble,
    at,
    waitMs: (hosts: string, source?: string) => trouble.waitMs(at(hosts, now.at, source)),
    reach: (hosts: string, source?: string, made = { result: answered, isConnected: true }) =>
      assert.equal(trouble.apart(at(hosts, now.at, source), taken, made), taken),
    fail: (hosts: string, { startedAt = now.at, fault = silence, source = "default" } = {}) =>
      trouble.apart(at(hosts, startedAt, source), away, {
        result: { kind: "fault", fault, replies: [] },
        isConnected: false,
      }),
  };
}

test("while others at the site are reached, hosts that are not are left alone, longer each time, and the site goes on", () => {
  const { now, waitMs, reach, fail } = world();
  reach("fine");
  const { feedback, next } = fail("dead");
  assert.deepEqual([feedback, next], ["neutral", { ...away.next, due: wall + 1000 + 5000 }]);
  assert.deepEqual([waitMs("dead"), waitMs("fine"), waitMs("dead", "other")], [5000, 0, 0]);
  fail("dead", { startedAt: 900 });
  assert.equal(waitMs("dead"), 5000, "begun before: the same failure");
  now.at += 6000;
  assert.equal(waitMs("dead"), 0);
  reach("fine");
  fail("dead");
  assert.equal(waitMs("dead"), 10_000);
  reach("dead");
  assert.equal(waitMs("dead"), 0);
});

test("of hosts that could not be reached one attempt at a time is let through, until one of them is answered", () => {
  const { now, waitMs, reach, fail } = world();
  reach("fine");
  fail("dead");
  now.at += 5000;
  assert.deepEqual([waitMs("dead"), waitMs("dead"), waitMs("dead")], [0, 30_000, 30_000]);
  reach("dead");
  assert.deepEqual([waitMs("dead"), waitMs("dead")], [0, 0]);
});

test("an attempt that ends untried, since what was idle led to others' hosts, keeps nobody from the next", () => {
  const { now, trouble, at, waitMs, reach, fail } = world();
  reach("fine");
  fail("dead");
  now.at += 5000;
  const probe = at("dead");
  assert.equal(trouble.waitMs(probe), 0);
  trouble.untried(at("dead"));
  assert.equal(waitMs("dead"), 30_000, "another one's end is not the probe's");
  trouble.untried(probe);
  assert.deepEqual([waitMs("dead"), waitMs("dead")], [0, 30_000]);
});

/** The site's trouble; the entry itself goes behind the others. */
const isSites = ({ feedback, next }: Decision): boolean => {
  assert.equal(next.kind === "requeue" && next.due !== undefined, true);
  return feedback === "unreachable";
};

test("it is the site's trouble when nobody else had been reached there, by this source, or one after another fails", () => {
  const { now, reach, fail } = world();
  assert.equal(isSites(fail("dead")), true, "nobody yet");
  reach("dead");
  assert.equal(isSites(fail("dead")), true, "themselves alone");
  reach("fine", "other");
  assert.equal(isSites(fail("dead")), true, "by another source");
  const unheard = ownReply(550, "5.4.4", "no host has an address");
  reach("nowhere", "default", { result: { kind: "answered", replies: [unheard] }, isConnected: true });
  reach("unsigned", "default", { result: answered, isConnected: false });
  assert.equal(isSites(fail("dead")), true, "what we say ourselves is nobody's");
  reach("fine");
  assert.equal(isSites(fail("one")), false);
  assert.equal(isSites(fail("two")), false);
  const third = fail("three");
  assert.deepEqual([third.feedback, third.next], ["unreachable", { ...away.next, due: wall + now.at }]);
  reach("fine");
  const startedAt = now.at + 50_000;
  now.at += 200_000;
  assert.equal(isSites(fail("slow", { startedAt })), false, "others were reached a minute before it began");
  assert.equal(isSites(fail("one")), true, "long ago");
});

test("what the provider's own hosts say is meant for all of its customers; what others' hosts say, for theirs", () => {
  const { reach, fail } = world();
  const full = reply(421, "4.7.0", "too many connections");
  const greeted = (host: string): Fault => ({
    stage: "greeting",
    kind: "refused",
    text: "full",
    reply: full,
    target: { host, address: "192.0.2.1", port: 25 },
  });
  reach("fine");
  assert.equal(isSites(fail("one", { fault: greeted("one.hoster.example") })), true);
  assert.equal(isSites(fail("two", { fault: greeted("slow.customer.example") })), false);
});
