import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decide, expire } from "#mta-pod/settle/decide.ts";
import type { DecideInput, Decision } from "#mta-pod/settle/decide.ts";
import { outcomeClasses } from "#mta-pod/settle/reply-rules.ts";
import { nextDelay } from "#mta-pod/settle/retry.ts";
import { describeReply, ownReply, reply } from "#mta-pod/smtp/reply.ts";
import type { Reply } from "#mta-pod/smtp/reply.ts";
import type { Fault, FaultKind, Stage } from "#mta-pod/smtp/transaction.ts";

const now = 1_000_000_000;
const hour = 3_600_000;
const policy = { firstMs: 600_000, maxMs: 4 * hour };

function decided(result: DecideInput["result"], rest: Partial<DecideInput> = {}): Decision {
  const open = rest.open ?? result.replies.map((_, index) => index);
  return decide({
    to: open.map((index) => `r${index}@x.example`),
    open,
    attempt: 0,
    receivedAt: now - hour,
    expiresAt: now + 24 * hour,
    from: "a@b.example",
    result,
    policy,
    now,
    random: () => 0.5,
    ...rest,
  });
}

const answered = (...replies: Reply[]) => ({ kind: "answered", replies }) as const;
const fault = (stage: Stage, kind: FaultKind, given?: Reply): Fault => ({
  stage,
  kind,
  text: `${kind} at ${stage}`,
  ...(given === undefined ? {} : { reply: given }),
});
const faulty = (trouble: Fault, ...replies: (Reply | undefined)[]) =>
  ({ kind: "fault", fault: trouble, replies: replies.length === 0 ? [undefined] : replies }) as const;

const byCode: readonly [number, string][] = [
  [250, "delivered"],
  [251, "delivered"],
  [299, "delivered"],
  [421, "deferred"],
  [450, "deferred"],
  [451, "deferred"],
  [452, "deferred"],
  [499, "deferred"],
  [500, "bounced"],
  [550, "bounced"],
  [552, "bounced"],
  [556, "bounced"],
  [599, "bounced"],
  [0, "deferred"],
  [199, "deferred"],
  [354, "deferred"],
  [600, "deferred"],
  [999, "deferred"],
];
for (const [code, outcome] of byCode)
  test(`decide() makes ${code} ${outcome}, whatever the text says`, () => {
    for (const text of ["", "user unknown", "greylisted, try again", "250 ok"])
      assert.equal(decided(answered(reply(code, "", text))).recipients[0]?.outcome, outcome);
  });

test("decide() settles each recipient by its own reply and keeps only the deferred ones open", () => {
  const decision = decided(
    answered(
      reply(250, "2.0.0", "ok"),
      reply(550, "5.1.1", "no"),
      reply(450, "4.2.0", "later"),
      reply(452, "4.5.3", "too many"),
    ),
    { open: [1, 3, 4, 7], attempt: 2 },
  );
  assert.deepEqual(
    decision.recipients.map((one) => [one.index, one.outcome]),
    [
      [1, "delivered"],
      [3, "bounced"],
      [4, "deferred"],
    ],
  );
  assert.deepEqual(decision.next, {
    kind: "defer",
    due: now,
    attempt: 2,
    open: [7, 4],
    fresh: 1,
    last: "450 4.2.0 later",
  });
  assert.deepEqual(decision.notify, [3]);
  assert.equal(decision.feedback, "good");
  assert.equal(decision.possibleDuplicate, false);
});

const surplus = [
  reply(452, "4.5.3", "no more"),
  reply(452, "5.5.3", "no more"),
  reply(452, "", "Too many recipients"),
  reply(552, "5.5.3", "no more"),
  reply(552, "", "too many recipients"),
];
for (const given of surplus)
  test(`decide() sends the rest in the next transaction after ${describeReply(given)}, while some are taken`, () => {
    const taken = reply(250, "2.0.0", "ok");
    const { next, recipients, notify } = decided(answered(taken, given, given), { attempt: 2 });
    assert.deepEqual(next, { kind: "defer", due: now, attempt: 2, open: [1, 2], last: describeReply(given) });
    const outcomes = recipients.map(({ index, outcome }) => [index, outcome]);
    assert.deepEqual([outcomes, notify], [[[0, "delivered"]], []], "who goes at once is not deferred");
    const first = decided(answered(taken, given));
    assert.equal(first.next.kind === "defer" && first.next.attempt, 1, "there is a state record");
    const alone = decided(answered(given, given), { attempt: 2 });
    if (given.code === 452)
      assert.deepEqual(alone.next, {
        kind: "defer",
        due: now + 4 * policy.firstMs,
        attempt: 3,
        open: [0, 1],
        last: describeReply(given),
      });
    else assert.deepEqual(alone.notify, [0, 1]);
  });

/** Transactions of one entry, until it waits: who was asked for in each, at a host with these manners. */
function transactionsOf(count: number, answer: (open: readonly number[]) => Reply[]) {
  let open: readonly number[] = Array.from({ length: count }, (_, index) => index);
  let fresh = count;
  let attempt = 0;
  let last = "";
  const asked: (readonly number[])[] = [];
  for (;;) {
    const now = open.slice(0, fresh);
    asked.push(now);
    const waiting = { open: open.slice(fresh), last };
    const decision = decided(answered(...answer(now)), { open: now, waiting, attempt });
    const { next } = decision;
    if (next.kind !== "defer" || next.due > 1_000_000_000) return { asked, next };
    assert.ok(asked.length < 20, "it has an end");
    ({ open, attempt, last } = next);
    fresh = next.fresh ?? open.length;
  }
}

const noMore = reply(452, "4.5.3", "one at a time");
const oneAtATime =
  (of: (index: number) => Reply) =>
  (open: readonly number[]): Reply[] =>
    open.map((index, at) => (at === 0 ? of(index) : noMore));

test("decide() gives each recipient its turn where a host takes one at a time: one that is put off, or refused, holds up none", () => {
  const later = reply(450, "4.2.0", "later");
  const said = [later, reply(550, "5.1.1", "no"), later, reply(250, "2.0.0", "ok")];
  const { asked, next } = transactionsOf(
    4,
    oneAtATime((index) => said[index] ?? later),
  );
  assert.deepEqual(asked, [[0, 1, 2, 3], [1, 2, 3], [2, 3], [3]]);
  assert.deepEqual(next, {
    kind: "defer",
    due: now + nextDelay(1, policy, () => 0.5),
    attempt: 2,
    open: [0, 2],
    last: "450 4.2.0 later",
  });
});

test("decide() asks a host that puts all off once for each, and then waits", () => {
  const { asked, next } = transactionsOf(
    5,
    oneAtATime(() => reply(451, "4.7.1", "greylisted")),
  );
  assert.deepEqual(asked.at(-1), [4]);
  assert.equal(asked.length, 5);
  assert.deepEqual(next.kind === "defer" && [next.open, next.fresh], [[0, 1, 2, 3, 4], undefined]);
});

test("decide() begins with those that had no turn when a fault ended the transaction of another", () => {
  const { next } = decided(faulty(fault("body", "closed"), undefined, noMore, noMore));
  assert.deepEqual(next.kind === "defer" && [next.open, next.fresh, next.attempt, next.due > now], [
    [1, 2, 0],
    undefined,
    1,
    true,
  ]);
});

test("decide() waits with all that are left when a fault ends the round", () => {
  const waiting = { open: [0], last: "450 later" };
  const { next } = decided(faulty(fault("rcpt", "closed"), undefined, undefined), { open: [1, 2], waiting });
  assert.deepEqual(next.kind === "defer" && [next.open, next.fresh, next.last], [
    [0, 1, 2],
    undefined,
    "closed at rcpt",
  ]);
});

test("decide() is not done while others wait for the end of the round", () => {
  const waiting = { open: [0], last: "450 4.2.0 later" };
  for (const given of [reply(250, "", "ok"), reply(550, "5.1.1", "no")]) {
    const { next } = decided(answered(given), { open: [1], waiting, attempt: 1 });
    assert.deepEqual(next, {
      kind: "defer",
      due: now + nextDelay(1, policy, () => 0.5),
      attempt: 2,
      open: [0],
      last: "450 4.2.0 later",
    });
  }
});

test("decide() takes no other 452 or 552 for one recipient too many", () => {
  const taken = reply(250, "2.0.0", "ok");
  for (const given of [reply(452, "4.2.2", "full"), reply(452, "", "full"), reply(451, "4.5.3", "no more")]) {
    const { next } = decided(answered(taken, given));
    assert.equal(next.kind === "defer" && next.due, now + policy.firstMs);
  }
  for (const given of [
    reply(552, "5.2.2", "full"),
    reply(552, "5.2.2", "too many recipients"),
    reply(552, "", "full"),
  ])
    assert.deepEqual(decided(answered(taken, given)).notify, [1]);
});

test("decide() gives the entry back when the peer does not understand what it offers: no verdict on the mail", () => {
  for (const trouble of [
    fault("final", "protocol", reply(502, "5.5.1", "BDAT?")),
    fault("mail", "protocol", reply(500, "", "RSET?")),
  ]) {
    const { next, recipients, notify, feedback } = decided(faulty(trouble));
    assert.deepEqual([next.kind, recipients, notify, feedback], ["requeue", [], [], "neutral"]);
    const late = decided(faulty(trouble), { expiresAt: now });
    assert.deepEqual([late.recipients[0]?.outcome, late.possibleDuplicate], ["expired", false]);
  }
});

test("decide() is done when nobody is left, and tells nobody about a null sender's mail", () => {
  const bounce = answered(reply(550, "5.1.1", "no"));
  assert.deepEqual(decided(bounce).next, { kind: "done" });
  assert.deepEqual(decided(bounce).notify, [0]);
  assert.deepEqual(decided(bounce, { from: "" }).notify, []);
  assert.equal(decided(bounce, { from: "" }).recipients[0]?.outcome, "bounced");
});

test("decide() never takes more than was said: a missing reply defers", () => {
  const decision = decided(answered(reply(250, "", "ok")), { open: [0, 1] });
  assert.equal(decision.recipients[1]?.outcome, "deferred");
  assert.equal(decision.recipients[1]?.class, "protocol");
});

for (const kind of ["timeout", "closed", "network", "protocol", "tls"] as const)
  test(`decide() defers after the dot (${kind}), never bounces, and counts a possible duplicate`, () => {
    const decision = decided(faulty(fault("final", kind)));
    assert.equal(decision.recipients[0]?.outcome, "deferred");
    assert.equal(decision.next.kind, "defer");
    assert.equal(decision.possibleDuplicate, true);
  });

test("decide() says of a message without a last reply that it was lost after the dot: it may have arrived", () => {
  for (const [kind, said] of [
    ["closed", "connection lost after the dot: closed at final"],
    ["network", "connection lost after the dot: network at final"],
    ["timeout", "no answer after the dot: timeout at final"],
  ] as const) {
    const { recipients, next } = decided(faulty(fault("final", kind)));
    assert.deepEqual([recipients[0]?.class, recipients[0]?.text], ["unanswered", said]);
    assert.equal(next.kind === "defer" && next.last, said);
  }
  const before = decided(faulty(fault("body", "closed"))).recipients[0];
  assert.deepEqual([before?.class, before?.text], ["connect", "closed at body"]);
});

test("decide() after the dot keeps what RCPT said of those that were refused", () => {
  const decision = decided(faulty(fault("final", "closed"), reply(550, "5.1.1", "no"), undefined));
  assert.deepEqual(
    decision.recipients.map(({ outcome }) => outcome),
    ["bounced", "deferred"],
  );
  assert.equal(decision.possibleDuplicate, true);
});

test("decide() takes a reply to the dot that ended the connection as an answer", () => {
  const decision = decided(faulty(fault("final", "closed", reply(421, "4.3.2", "shutting down"))));
  assert.equal(decision.recipients[0]?.outcome, "deferred");
  assert.equal(decision.possibleDuplicate, false);
  assert.equal(decision.feedback, "throttled");
});

for (const stage of ["connect", "greeting", "ehlo", "tls"] as const)
  test(`decide() gives the entry back when the site failed at ${stage}, even with a 5xx`, () => {
    for (const given of [undefined, reply(421, "", "busy"), reply(554, "5.7.1", "go away")]) {
      const decision = decided(faulty(fault(stage, "refused", given)));
      assert.equal(decision.next.kind, "requeue");
      assert.equal(decision.feedback, "unreachable");
      assert.deepEqual(decision.recipients, []);
      assert.deepEqual(decision.notify, []);
    }
  });

test("decide() expires an entry whose site failed when its time is over", () => {
  const decision = decided(faulty(fault("connect", "timeout")), { expiresAt: now });
  assert.equal(decision.recipients[0]?.outcome, "expired");
  assert.deepEqual(decision.next, { kind: "done" });
  assert.deepEqual(decision.notify, [0]);
  assert.equal(decision.feedback, "unreachable");
});

for (const stage of ["mail", "rcpt", "data", "body"] as const)
  test(`decide() defers and slows down when the connection failed at ${stage}`, () => {
    for (const kind of ["timeout", "closed", "network"] as const) {
      const decision = decided(faulty(fault(stage, kind)));
      assert.equal(decision.next.kind, "defer");
      assert.equal(decision.feedback, "throttled");
      assert.equal(decision.possibleDuplicate, false);
    }
  });

test("decide() bounces what the peer cannot take", () => {
  const replied = decided(faulty(fault("mail", "unsupported", reply(553, "5.6.7", "no SMTPUTF8"))));
  assert.equal(replied.recipients[0]?.outcome, "bounced");
  assert.equal(replied.recipients[0]?.reply?.enhanced, "5.6.7");
  const bare = decided(faulty({ stage: "ehlo", kind: "unsupported", text: "8BITMIME is not offered" }));
  assert.equal(bare.recipients[0]?.reply?.enhanced, "5.6.3");
  assert.equal(bare.recipients[0]?.reply?.isOurs, true);
  assert.deepEqual(bare.notify, [0]);
});

test("decide() of a fenced owner settles nothing, not even what has expired or was refused", () => {
  const decision = decided(faulty(fault("body", "fenced"), reply(550, "", "no"), undefined), {
    expiresAt: now - 1,
  });
  assert.equal(decision.next.kind, "requeue");
  assert.equal(decision.feedback, "neutral");
  assert.deepEqual(decision.recipients, []);
});

test("decide() puts the last try on the expiry, and expires what is deferred then", () => {
  const later = reply(450, "4.2.0", "later");
  const before = decided(answered(later), { expiresAt: now + 1000 });
  assert.equal(before.next.kind === "defer" && before.next.due, now + 1000);
  const over = decided(answered(later, reply(250, "", "ok")), { expiresAt: now });
  assert.deepEqual(
    over.recipients.map(({ outcome }) => outcome),
    ["expired", "delivered"],
  );
  assert.deepEqual(over.next, { kind: "done" });
  assert.deepEqual(over.notify, [0]);
  assert.equal(over.recipients[0]?.text, "450 4.2.0 later");
});

const feedbacks: readonly [string, Reply[], string][] = [
  ["a delivery", [reply(250, "", "ok")], "good"],
  ["a delivery beside a full mailbox", [reply(452, "4.2.2", "full"), reply(250, "", "ok")], "good"],
  ["an unknown user", [reply(550, "5.1.1", "no such user")], "neutral"],
  ["greylisting", [reply(451, "4.7.1", "Greylisted")], "neutral"],
  ["421", [reply(250, "", "ok"), reply(421, "", "bye")], "throttled"],
  ["a rate limit", [reply(450, "4.7.28", "unusual rate")], "throttled"],
  ["a rate limit that bounces", [reply(550, "", "Connection frequency limited")], "throttled"],
  ["a bad reputation that defers", [reply(451, "4.7.0", "low reputation of the IP")], "throttled"],
  ["a block that bounces", [reply(550, "5.7.1", "blocked using zen.spamhaus.org")], "neutral"],
];
for (const [what, replies, feedback] of feedbacks)
  test(`decide() reports ${what} as ${feedback}`, () => {
    assert.equal(decided(answered(...replies)).feedback, feedback);
  });

test("decide() hands on what a peer said as it refused to go on, to the event, the state and the site's trouble", () => {
  const said = reply(421, "4.7.28", "unusual rate of mail");
  const text = describeReply(said);
  for (const stage of ["mail", "rcpt", "data", "final"] as const) {
    const decision = decided(faulty({ ...fault(stage, "refused", said), text }));
    assert.equal(decision.recipients[0]?.text, text, stage);
    assert.ok(decision.next.kind === "defer" && decision.next.last === text, stage);
  }
  for (const stage of ["greeting", "ehlo", "tls"] as const) {
    const trouble = { ...fault(stage, "refused", said), text };
    const { next } = decided(faulty(trouble));
    assert.ok(next.kind === "requeue" && next.text === text, stage);
    // Whether this attempt found it expired or its time ran out while the site rested, its report quotes the peer.
    const [late] = decided(faulty(trouble), { expiresAt: now }).recipients;
    const [rested] = expire({ open: [0], from: "", last: next.text }).recipients;
    assert.deepEqual([late?.reply, late?.text], [said, text]);
    assert.deepEqual(rested, late);
  }
});

test("expire() knows the last reply again: a report names it as the peer's", () => {
  const replyOf = (last: string) => expire({ open: [0], from: "", last }).recipients[0]?.reply;
  for (const known of [reply(451, "4.3.0", "never"), reply(421, "", "busy"), reply(450, "4.2.0", "")])
    assert.deepEqual(replyOf(describeReply(known)), known);
  for (const own of ["", "connection timed out", "45 4.3.0 never", "250 2.0.0 ok"])
    assert.equal(replyOf(own), null);
});

test("expire() knows from what a state record keeps whether the last reply was ours, whose event is as it was", () => {
  const said = ownReply(451, "4.4.3", "no answer from DNS for b.example");
  const { next, recipients } = decided(answered(said));
  assert.ok(next.kind === "defer");
  const [late] = expire({ open: [0], from: "", last: next.last }).recipients;
  assert.deepEqual([late?.reply, late?.text], [said, recipients[0]?.text]);
});

test("expire() expires every open recipient and tells the sender, if there is one", () => {
  const decision = expire({ open: [2, 5], from: "a@b.example", last: "450 later" });
  assert.deepEqual(
    decision.recipients.map((one) => [one.index, one.outcome, one.text]),
    [
      [2, "expired", "450 later"],
      [5, "expired", "450 later"],
    ],
  );
  assert.deepEqual(decision.notify, [2, 5]);
  assert.deepEqual(expire({ open: [0], from: "", last: "" }).notify, []);
});

const anyReply = fc.record({
  code: fc.integer({ min: 0, max: 999 }),
  enhanced: fc.string(),
  text: fc.string(),
});
const stages: Stage[] = ["connect", "greeting", "ehlo", "tls", "mail", "rcpt", "data", "body", "final"];
const kinds: FaultKind[] = [
  "refused",
  "timeout",
  "closed",
  "network",
  "tls",
  "protocol",
  "unsupported",
  "fenced",
];
const anyFault = fc.record({
  stage: fc.constantFrom(...stages),
  kind: fc.constantFrom(...kinds),
  text: fc.string(),
  reply: fc.option(anyReply, { nil: undefined }),
});
const anyResult = fc
  .array(fc.option(anyReply, { nil: undefined }), { minLength: 1, maxLength: 5 })
  .chain((replies) =>
    fc.oneof(
      fc.constant({ kind: "answered" as const, replies: replies.map((one) => one ?? reply(250, "", "ok")) }),
      anyFault.map(({ reply: given, ...rest }) => ({
        kind: "fault" as const,
        replies,
        fault: given === undefined ? rest : { ...rest, reply: given },
      })),
    ),
  );

test("decide() loses no recipient: each is settled, open again, or given back with all others", () => {
  fc.assert(
    fc.property(anyResult, fc.integer({ min: -5, max: 5 }), fc.nat(40), (result, left, attempt) => {
      const open = result.replies.map((_, index) => index * 2);
      const expiresAt = now + left * hour;
      const decision = decided(result, { open, expiresAt, attempt });
      if (decision.next.kind === "requeue") {
        assert.deepEqual(decision.recipients, []);
        return;
      }
      assert.deepEqual(
        decision.recipients.map(({ index }) => index),
        open,
      );
      const deferred = decision.recipients
        .filter(({ outcome }) => outcome === "deferred")
        .map(({ index }) => index);
      assert.deepEqual(decision.next.kind === "defer" ? decision.next.open : [], deferred);
      if (decision.next.kind === "defer") {
        assert.ok(decision.next.due > now && decision.next.due <= expiresAt);
        assert.equal(decision.next.attempt, attempt + 1);
      }
      for (const one of decision.recipients) {
        assert.ok(outcomeClasses.includes(one.class));
        assert.ok(one.text.length <= 512);
        if (one.outcome === "delivered") assert.equal(Math.floor((one.reply?.code ?? 0) / 100), 2);
      }
      const failed = decision.recipients.filter(
        ({ outcome }) => outcome === "bounced" || outcome === "expired",
      );
      assert.deepEqual(
        decision.notify,
        failed.map(({ index }) => index),
      );
    }),
  );
});

test("nextDelay() doubles until the cap", () => {
  const delays = [0, 1, 2, 3, 4, 5, 50, 5000].map((attempts) => nextDelay(attempts, policy, () => 0.5));
  assert.deepEqual(
    delays,
    [10, 20, 40, 80, 160, 240, 240, 240].map((minutes) => minutes * 60_000),
  );
});

test("nextDelay() varies by 15 % and never exceeds the cap", () => {
  assert.equal(
    nextDelay(0, policy, () => 0),
    510_000,
  );
  fc.assert(
    fc.property(
      fc.nat(100),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempts, draw) => {
        const delay = nextDelay(attempts, policy, () => draw);
        const middle = Math.min(policy.firstMs * 2 ** attempts, policy.maxMs);
        assert.ok(delay >= middle * 0.85 - 1 && delay <= Math.min(middle * 1.15 + 1, policy.maxMs));
      },
    ),
  );
});
