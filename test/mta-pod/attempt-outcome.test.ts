import assert from "node:assert/strict";
import { test } from "node:test";
import { countAttempt, type Run, wasStale } from "#mta-pod/attempt-outcome.ts";
import { classifyFault } from "#mta-pod/settle/classify.ts";
import { outcomeClasses } from "#mta-pod/settle/reply-rules.ts";
import type { Decision } from "#mta-pod/settle/decide.ts";
import type { Fault } from "#mta-pod/smtp/transaction.ts";
import { envelope } from "#test/kit/spool.ts";

const now = 1_700_000_000_000;
const requeue = (fault: Fault): Decision => ({
  recipients: [],
  notify: [],
  feedback: "throttled",
  possibleDuplicate: false,
  next: { kind: "requeue", reason: classifyFault(fault), text: "" },
});

const common = {
  time: now,
  pool: "mail/p",
  pod: "pod-0",
  id: "i",
  type: "attempted",
  tenant: "mail/acme",
  stream: "default",
  from: "news@acme.example",
  to: ["b@x.example"],
  site: "mx:1",
  source: "ip-a",
  attempt: 3,
  nextAttempt: now + 60_000,
};

/** The event of an attempt that ended before its mail. */
function eventOf(fault: Fault, route: object | undefined): object {
  const events: object[] = [];
  const pod = {
    name: "pod-0",
    clock: { now: () => now },
    config: () => ({ manifest: { pool: "mail/p" } }),
    eventLog: {
      append: (stamp: object, facts: object) =>
        void events.push(JSON.parse(JSON.stringify({ ...stamp, ...facts }))),
    },
    metrics: { providerLabel: (provider: string) => provider, attempts: { inc: () => {} } },
    scheduler: { siteState: () => ({ backoffUntil: now + 59_999.25 }) },
  };
  const run = {
    dispatch: { entry: { attempt: 2 }, lane: { site: "mx:1" }, source: "ip-a" },
    loaded: { envelope: envelope({ id: "i", to: ["a@x.example", "b@x.example"] }), open: [1] },
    open: [1],
    route,
  };
  const result = { kind: "fault", fault, replies: [undefined] } as const;
  countAttempt(pod as never, run as unknown as Run, result, requeue(fault));
  const [event, ...others] = events;
  assert.ok(event !== undefined && others.length === 0);
  return event;
}

test("countAttempt() writes an event that says what was tried, for whom, by which rule, and what the peer said", () => {
  const reply = { code: 421, enhanced: "4.7.0", text: "too many connections" };
  const target = { host: "mx.x.example", port: 25, addresses: [] } as unknown as NonNullable<Fault["target"]>;
  const fault: Fault = {
    stage: "greeting",
    kind: "refused",
    text: "421 too many connections",
    reply,
    target,
  };
  const route = { provider: "big", rule: { name: "mail/shape/big" } };
  assert.deepEqual(eventOf(fault, route), {
    ...common,
    provider: "big",
    class: "rate-limited",
    text: "greeting: 421 too many connections",
    code: 421,
    enhanced: "4.7.0",
    rule: "mail/shape/big",
    mx: "mx.x.example",
  });
});

test("countAttempt() tells a fault by the documented classes, in whole milliseconds, and a proxy's apart by its text", () => {
  const cases: [Fault, string, string][] = [
    [{ stage: "connect", kind: "network", text: "no route" }, "connect", "connect: no route"],
    [{ stage: "connect", kind: "refused", text: "refused" }, "connect", "connect: refused"],
    [{ stage: "connect", kind: "proxy", text: "login refused" }, "connect", "proxy: login refused"],
    [{ stage: "ehlo", kind: "timeout", text: "no answer" }, "timeout", "ehlo: no answer"],
    [{ stage: "tls", kind: "tls", text: "no trust" }, "tls", "tls: no trust"],
  ];
  for (const [fault, ofClass, text] of cases) {
    const event = eventOf(fault, undefined);
    assert.ok(outcomeClasses.includes(ofClass as never));
    assert.deepEqual(event, { ...common, provider: "mx:1", class: ofClass, text });
  }
});

const answeredWith = (code: number) => ({ code, enhanced: "", text: "no more by this connection" });
const stale: [string, Fault, number, boolean][] = [
  ["closed while it was idle", { stage: "mail", kind: "closed", text: "" }, 2, true],
  ["421 to the next MAIL", { stage: "mail", kind: "refused", text: "", reply: answeredWith(421) }, 2, true],
  ["421 to the first MAIL", { stage: "mail", kind: "refused", text: "", reply: answeredWith(421) }, 1, false],
  ["421 to RCPT", { stage: "rcpt", kind: "refused", text: "", reply: answeredWith(421) }, 2, false],
  ["another reply", { stage: "mail", kind: "protocol", text: "", reply: answeredWith(500) }, 2, false],
  ["no reply in time", { stage: "mail", kind: "timeout", text: "" }, 2, false],
];
for (const [what, fault, sent, expected] of stale)
  test(`wasStale() of a connection's transaction ${sent}, ${what}: ${expected}`, () => {
    const result = { kind: "fault", fault, replies: [undefined] } as const;
    assert.equal(wasStale({ sent } as never, result), expected);
  });
