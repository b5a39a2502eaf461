import assert from "node:assert/strict";
import { test } from "node:test";
import type { TenantConfig } from "#crds/pod-config/schema.ts";
import { createAdmission, rateOf } from "#mta-pod/admit/admission.ts";
import type { MessageFacts, Usage } from "#mta-pod/admit/admission.ts";
import { rejectionReasons } from "#mta-pod/admit/refusal.ts";
import type { Refusal, RejectionReason } from "#mta-pod/admit/refusal.ts";
import { configOf, tenantOf } from "./pod-config.ts";

const login = { tenant: "mail/acme", credential: "app", stream: null };
const now = 1_800_000_000_000;
const unused: Usage = { quota: "open", room: "open", rate: "open" };
const facts: MessageFacts = {
  from: "news@acme.example",
  to: ["x@y.example"],
  headerFrom: ["news@acme.example"],
  size: 500,
  streamHeader: null,
  sendAtHeaders: [],
};

type Answer = { readonly ok: true } | Refusal;

function assertRefused(answer: Answer, reason: RejectionReason, code: number, enhanced: string): void {
  assert.ok(!answer.ok, "was accepted");
  assert.deepEqual([answer.reason, answer.reply.code, answer.reply.enhanced], [reason, code, enhanced]);
  assert.match(answer.reply.text, /^[\x20-\x7e]{10,200}$/);
}

const admissionOf = (changes: Partial<TenantConfig> = {}) => createAdmission(configOf(tenantOf(changes)));
const limited = (limits: Partial<TenantConfig["limits"]>) =>
  admissionOf({ limits: { ...tenantOf().limits, ...limits } });

test("login() gives the tenant, the credential and its stream", () => {
  const admission = admissionOf();
  assert.deepEqual(admission.login("acme-app", "secret"), { ok: true, login });
  assert.deepEqual(admission.login("acme-letters", "Пароль"), {
    ok: true,
    login: { tenant: "mail/acme", credential: "letters", stream: "newsletter" },
  });
});

const wrong: readonly [string, string, string][] = [
  ["a wrong password", "acme-app", "Secret"],
  ["an empty password", "acme-app", ""],
  ["an unknown name", "nobody", "secret"],
  ["another case of the name", "ACME-APP", "secret"],
  ["no name", "", ""],
  ["a credential that was removed from its tenant", "acme-old", "old"],
  ["a property that every object has", "__proto__", "secret"],
];
for (const [what, username, password] of wrong)
  test(`login() refuses ${what} with 535, and says no more than that`, () => {
    const answer = admissionOf().login(username, password);
    assertRefused(answer, "bad-credentials", 535, "5.7.8");
    assert.deepEqual(answer, admissionOf().login("somebody", "else"));
  });

test("login() of a tenant that is not known any more is refused", () => {
  assertRefused(
    createAdmission({ ...configOf(), tenants: new Map() }).login("acme-app", "secret"),
    "bad-credentials",
    535,
    "5.7.8",
  );
});

test("login() survives a key that is no MAC", () => {
  const config = configOf();
  const credentials = config.credentials.map((key) => ({ ...key, passwordMac: "zz" }));
  assert.equal(createAdmission({ ...config, credentials }).login("acme-app", "secret").ok, false);
});

test("trusted() goes by the address, in either form, and by nothing else", () => {
  const trust = [
    { cidr: "10.1.0.0/16", tenant: "mail/acme" },
    { cidr: "fd00::/8", tenant: "mail/other" },
    { cidr: "nonsense", tenant: "mail/acme" },
  ];
  const admission = createAdmission(configOf(tenantOf(), trust));
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3"])
    assert.deepEqual(admission.trusted(address), {
      tenant: "mail/acme",
      credential: "trust:10.1.0.0/16",
      stream: null,
    });
  assert.equal(admission.trusted("fd00::1")?.tenant, "mail/other");
  for (const address of ["10.2.0.1", "127.0.0.1", "::1", "", "10.1.2.3.4"])
    assert.equal(admission.trusted(address), null);
});

for (const from of [
  "a@acme.example",
  "a@ACME.Example",
  "x@bounces.acme.example",
  "j@bücher.example",
  '"a@b"@acme.example',
])
  test(`mail() takes ${from}`, () => {
    assert.deepEqual(admissionOf().mail(login, from, 0), { ok: true });
  });

const senders: readonly [string, RejectionReason][] = [
  ["", "null-sender"],
  ["a@other.example", "sender-domain"],
  ["a@sub.acme.example", "sender-domain"],
  ["a@acme.example.evil.example", "sender-domain"],
  ["a@evilacme.example", "sender-domain"],
  ["a@acme.example@other.example", "sender-domain"],
  ["@acme.example", "sender-domain"],
  ["postmaster", "sender-domain"],
  ["a@[127.0.0.1]", "sender-domain"],
  ["a@x\r\n250 ok", "sender-domain"],
  [`a@${"x".repeat(300)}`, "sender-domain"],
];
for (const [from, reason] of senders)
  test(`mail() refuses ${JSON.stringify(from.slice(0, 40))} as ${reason}`, () => {
    assertRefused(admissionOf().mail(login, from, 0), reason, 550, "5.7.1");
  });

test("mail() names the domain that is not the tenant's", () => {
  const answer = admissionOf().mail(login, "a@Other.example", 0);
  assert.match(answer.ok ? "" : answer.reply.text, /"other\.example"/);
});

test("mail() refuses a tenant in state Reject, takes one on Hold, and asks an unknown one to come again", () => {
  assertRefused(admissionOf({ state: "Reject" }).mail(login, facts.from, 0), "tenant-rejected", 550, "5.7.1");
  assert.equal(admissionOf({ state: "Hold" }).mail(login, facts.from, 0).ok, true);
  const unknown = { ...login, tenant: "mail/unknown" };
  assertRefused(admissionOf().mail(unknown, facts.from, 0), "unknown-tenant", 451, "4.3.0");
  assertRefused(admissionOf().recipient(unknown, [], "a@b.example"), "unknown-tenant", 451, "4.3.0");
  assertRefused(admissionOf().message(unknown, facts, unused, now), "unknown-tenant", 451, "4.3.0");
});

test("a tenant that is going is refused in every state, also in a session that is open", () => {
  for (const state of ["Active", "Hold"] as const) {
    const admission = admissionOf({ state, isGoing: true });
    assertRefused(admission.mail(login, facts.from, 0), "tenant-rejected", 550, "5.7.1");
    assertRefused(admission.message(login, facts, unused, now), "tenant-rejected", 550, "5.7.1");
  }
});

test("mail() compares the declared size with the tenant's limit", () => {
  assert.equal(admissionOf().mail(login, facts.from, 1000).ok, true);
  assertRefused(admissionOf().mail(login, facts.from, 1001), "too-large", 552, "5.3.4");
  assert.equal(admissionOf().maxMessageBytes(login), 1000);
  assert.equal(admissionOf().maxMessageBytes({ ...login, tenant: "x/y" }), 0);
});

test("maxMessageBytes() before a login is the largest of any tenant's, the default at least", () => {
  const of = (messageSizeBytes: number): number =>
    admissionOf({ limits: { recipientsPerMessage: 3, messageSizeBytes } }).maxMessageBytes(null);
  assert.deepEqual([of(1000), of(26_214_401), of(67_108_864)], [26_214_400, 26_214_401, 67_108_864]);
});

for (const to of [
  "a@b.example",
  "a@bücher.example",
  "a@[192.0.2.1]",
  "a@[IPv6:2001:db8::1]",
  '"a b"@b.example',
])
  test(`recipient() takes ${to}`, () => {
    assert.deepEqual(admissionOf().recipient(login, [], to), { ok: true });
  });

for (const to of [
  "",
  "postmasters",
  "a@localhost",
  "a@",
  "@b.example",
  "a@b..example",
  "a@[nonsense]",
  "a@1.2.3.4",
  "a@b.example\r\n",
])
  test(`recipient() refuses ${JSON.stringify(to)}`, () => {
    assertRefused(admissionOf().recipient(login, [], to), "bad-recipient", 550, "5.1.3");
  });

test("recipient() says that it has no mailboxes of its own, not even postmaster's", () => {
  for (const to of ["postmaster", "PostMaster"])
    assertRefused(admissionOf().recipient(login, [], to), "no-mailbox", 550, "5.1.1");
});

test("recipient() takes as many as the tenant may have, and asks for another message for the rest", () => {
  const admission = admissionOf();
  assert.equal(admission.recipient(login, ["1@b.example", "2@b.example"], "3@b.example").ok, true);
  const full = ["1@b.example", "2@b.example", "3@b.example"];
  assertRefused(admission.recipient(login, full, "4@b.example"), "too-many-recipients", 452, "4.5.3");
});

test("message() gives the stream, its class and the expiry", () => {
  assert.deepEqual(admissionOf().message(login, facts, unused, now), {
    ok: true,
    stream: "default",
    class: "transactional",
    sendAt: 0,
    expiresAt: now + 72_000,
  });
  const own = admissionOf({ retry: { maxAgeMs: 5000 } }).message(login, facts, unused, now);
  assert.equal(own.ok && own.expiresAt, now + 5000);
});

test("message() takes the credential's stream before the header's, and refuses one that the tenant has not", () => {
  const admission = admissionOf();
  const named = admission.message(login, { ...facts, streamHeader: "newsletter" }, unused, now);
  assert.equal(named.ok && named.class, "bulk");
  const fixed = admission.message(
    { ...login, stream: "newsletter" },
    { ...facts, streamHeader: "default" },
    unused,
    now,
  );
  assert.equal(fixed.ok && fixed.stream, "newsletter");
  for (const streamHeader of ["gone", "", "a\r\nb", "__proto__"])
    assertRefused(
      admission.message(login, { ...facts, streamHeader }, unused, now),
      "unknown-stream",
      550,
      "5.7.1",
    );
});

const headers: readonly [string, readonly string[]][] = [
  ["none", []],
  ["two", ["a@acme.example", "b@acme.example"]],
  ["a foreign one", ["a@other.example"]],
  ["one of a subdomain", ["a@sub.acme.example"]],
  ["one of the return path, which is for the envelope only", ["a@bounces.acme.example"]],
  ["one without a domain", ["acme.example"]],
  ["an empty one", [""]],
];
for (const [what, headerFrom] of headers)
  test(`message() refuses a From header with ${what}`, () => {
    assertRefused(
      admissionOf().message(login, { ...facts, headerFrom }, unused, now),
      "from-header",
      550,
      "5.7.1",
    );
  });

test("message() repeats the checks of the envelope, for front doors that have no MAIL and RCPT", () => {
  const admission = admissionOf();
  const checks: [Partial<MessageFacts>, RejectionReason, number, string][] = [
    [{ from: "a@other.example" }, "sender-domain", 550, "5.7.1"],
    [{ from: "" }, "null-sender", 550, "5.7.1"],
    [{ to: ["a@b.example", "nobody"] }, "bad-recipient", 550, "5.1.3"],
    [
      { to: Array.from({ length: 4 }, (_, index) => `${index}@b.example`) },
      "too-many-recipients",
      452,
      "4.5.3",
    ],
    [{ size: 1001 }, "too-large", 552, "5.3.4"],
  ];
  for (const [change, reason, code, enhanced] of checks)
    assertRefused(admission.message(login, { ...facts, ...change }, unused, now), reason, code, enhanced);
  assertRefused(
    admissionOf({ state: "Reject" }).message(login, facts, unused, now),
    "tenant-rejected",
    550,
    "5.7.1",
  );
});

test("message() holds a tenant to its queue and its day", () => {
  const admission = limited({ queuedMessages: 10, messagesPerDay: 100 });
  assert.equal(admission.message(login, facts, unused, now).ok, true);
  assertRefused(
    admission.message(login, facts, { ...unused, room: "full" }, now),
    "queue-full",
    452,
    "4.3.1",
  );
  const uncounted = { ...unused, room: "unknown" } as const;
  assertRefused(admission.message(login, facts, uncounted, now), "queue-unknown", 451, "4.3.0");
  assert.equal(limited({}).message(login, facts, uncounted, now).ok, true);
  assertRefused(admission.message(login, facts, { ...unused, quota: "used-up" }, now), "quota", 452, "4.3.1");
});

test("message() does not say that a quota is used up when it cannot be read, nor that there is one", () => {
  const admission = limited({ messagesPerDay: 100 });
  assertRefused(
    admission.message(login, facts, { ...unused, quota: "unknown" }, now),
    "quota-unknown",
    451,
    "4.3.0",
  );
  assert.equal(limited({}).message(login, facts, { ...unused, quota: "used-up" }, now).ok, true);
});

test("message() over the rate says how long to wait; a rate that cannot be read is 451 as well", () => {
  const admission = limited({ messagesPerSecond: 10, burst: 50 });
  const over = admission.message(login, facts, { ...unused, rate: 1200 }, now);
  assertRefused(over, "rate", 451, "4.7.1");
  assert.match(over.ok ? "" : over.reply.text, /10 messages per second, try again in 2 s/);
  const unknown = admission.message(login, facts, { ...unused, rate: "unknown" }, now);
  assertRefused(unknown, "rate-unknown", 451, "4.3.0");
  assert.equal(limited({}).message(login, facts, { ...unused, rate: "unknown" }, now).ok, true);
});

test("message() over the rate names it as it was written, not as a fraction of a second", () => {
  const cases: [perSecond: number, said: RegExp][] = [
    [30, /over the rate of 30 messages per second,/],
    [1 / 60, /over the rate of 1 message per minute,/],
    [100 / 3600, /over the rate of 100 messages per hour,/],
    [7 / 86_400, /over the rate of 7 messages per day,/],
    [0.123_456_7, /over the rate of 0\.12 messages per second,/],
  ];
  for (const [messagesPerSecond, said] of cases) {
    const over = limited({ messagesPerSecond }).message(login, facts, { ...unused, rate: 60_000 }, now);
    assert.match(over.ok ? "" : over.reply.text, said);
    assert.equal(over.ok ? 0 : over.reply.retrySeconds, 60);
  }
});

test("rateOf() without a burst lets one second's worth through at once", () => {
  const acme = tenantOf();
  const limits = (own: object) => ({ ...acme, limits: { ...acme.limits, ...own } });
  assert.deepEqual(rateOf(limits({ messagesPerSecond: 10 })), { perSecond: 10, burst: 10 });
  assert.deepEqual(rateOf(limits({ messagesPerSecond: 10, burst: 50 })), { perSecond: 10, burst: 50 });
  assert.equal(rateOf(limits({})), undefined);
});

test("the reasons are a closed list without repetition", () => {
  assert.equal(new Set(rejectionReasons).size, rejectionReasons.length);
});
