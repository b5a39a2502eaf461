import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources, type TestTenant } from "#test/kit/local-resources.ts";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { openTalk, plainLogin, sendBurst, type Talk } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { explain, ruleTo, settled } from "#test/kit/world.ts";

let provider: Provider;
let local: LocalMode;

const streams = { streams: [{ name: "news", class: "bulk" }] };
const tenants: readonly TestTenant[] = [
  { name: "acme", spec: streams },
  { name: "other" },
  { name: "held", spec: { state: "Hold" } },
  { name: "rejected", spec: { state: "Reject" } },
  { name: "fast", limits: { messageRate: "6/m", burst: 3 } },
  { name: "daily", limits: { messagesPerDay: 3 } },
  { name: "full", limits: { queuedMessages: 2 } },
  { name: "small", limits: { recipientsPerMessage: 2, messageSizeBytes: 2048 } },
];

function resources(released = false): string {
  const refused = (name: string) => ({ ...ruleTo(name, 9), match: { domains: ["waits.example"] } });
  const changed = tenants.map((tenant) => (tenant.name === "held" && released ? { name: "held" } : tenant));
  return testResources({ tenants: changed, rules: [refused("waits"), ruleTo("x", provider.port)] });
}

before(async () => {
  provider = await startProvider();
  // One pod: rates and quotas are then those of one bucket, to the message.
  local = await startLocal({ resources: resources(), pods: 1 });
});

after(async () => {
  await local?.[Symbol.asyncDispose]();
  await provider?.close();
});

async function openAs(user: string): Promise<Talk> {
  const talk = await openTalk(local.endpoints.smtp);
  await talk.hear();
  await talk.say("EHLO client.example");
  assert.match(await talk.say(plainLogin(user, testPassword)), /^235 2\.7\.0/);
  return talk;
}

interface Posted {
  readonly from?: string;
  readonly to?: string;
  readonly header?: string;
}

/** One transaction; resolves with the reply that ended it. */
async function post(talk: Talk, user: string, { from, to, header }: Posted = {}): Promise<string> {
  const sender = from ?? `a@${user}.example`;
  const mail = await talk.say(`MAIL FROM:<${sender}>`);
  if (!mail.startsWith("250")) return mail;
  const rcpt = await talk.say(`RCPT TO:<${to ?? "u@x.example"}>`);
  if (!rcpt.startsWith("250")) return rcpt;
  await talk.say("DATA");
  return talk.say(`${header ?? `From: ${sender}\r\n`}Subject: s\r\n\r\ntext\r\n.`);
}

const arrived = (to: string): boolean => provider.messages.list({ to, limit: 1 }).length > 0;

test("nobody sends without a login, on any listener", async () => {
  for (const [address, ca] of [
    [local.endpoints.smtp, undefined],
    [local.endpoints.submission, undefined],
    [local.endpoints.submissions, local.ca],
  ] as const) {
    await using talk = await openTalk(address, ca);
    await talk.hear();
    await talk.say("EHLO client.example");
    assert.match(await talk.say("MAIL FROM:<a@acme.example>"), /^530 5\.7\.0/);
    assert.match(await talk.say("RCPT TO:<u@x.example>"), /^5\d\d /);
    assert.match(await talk.say(plainLogin("acme", "wrong")), /^535 5\.7\.8/);
    assert.match(await talk.say("MAIL FROM:<a@acme.example>"), /^530 5\.7\.0/);
  }
});

test("no tenant sends as another, in the envelope or in the header", async () => {
  await using talk = await openAs("acme");
  assert.match(await post(talk, "acme", { from: "a@other.example" }), /^550 5\.7\.1 .*other\.example/);
  assert.match(await post(talk, "acme", { from: "" }), /^550 5\.7\.1/);
  for (const header of [
    "From: a@other.example\r\n",
    "From: a@acme.example\r\nFrom: a@other.example\r\n",
    "From: a@acme.example, b@other.example\r\n",
    'From: "a@acme.example" <a@other.example>\r\n',
    "",
  ])
    assert.match(await post(talk, "acme", { header }), /^550 5\.7\.1/, header);
  assert.match(await post(talk, "acme"), /^250 2\.0\.0 queued as [0-9a-z]{26}$/);
});

test("mail of a tenant on hold is taken and kept, and goes when an edit lifts the hold", async () => {
  await using talk = await openAs("held");
  const reply = await post(talk, "held", { to: "held@x.example" });
  assert.match(reply, /^250 /);
  const id = reply.split(" ").at(-1) ?? "";
  const kept = await until("it to be queued", async () => {
    const now = await explain(local, id);
    return now.entries.length === 1 && now;
  });
  assert.equal(kept.entries[0]?.state, "suspended");
  assert.match(kept.binding ?? "", /hold/);
  assert.equal(arrived("held@x.example"), false);
  await local.edit(resources(true));
  await settled(local, id, { types: ["received", "delivered"] });
  assert.equal(arrived("held@x.example"), true);
});

test("a rejected tenant, a rate, a quota, a full queue, sizes and streams are each refused with their code", async () => {
  const cases: [string, number, Posted, RegExp][] = [
    ["rejected", 0, {}, /^550 5\.7\.1/],
    ["fast", 3, {}, /^451 4\.7\.1 .*try again in \d+ s/],
    ["daily", 3, {}, /^452 4\.3\.1 .*3 messages per day/],
    ["full", 2, { to: "u@waits.example" }, /^452 4\.3\.1 .*2 messages are queued/],
    ["acme", 0, { header: "From: a@acme.example\r\nX-Mailboat-Stream: lost\r\n" }, /^550 5\.7\.1 .*"lost"/],
    ["acme", 0, { to: "u@localhost" }, /^5\d\d 5\.1\.\d/],
  ];
  for (const [user, free, posted, expected] of cases) {
    await using talk = await openAs(user);
    for (let number = 0; number < free; number++) assert.match(await post(talk, user, posted), /^250 /, user);
    // The queue is counted where the entries are owned: this pod, at once.
    assert.match(await post(talk, user, posted), expected);
  }
  await using talk = await openAs("small");
  assert.match(await talk.say("MAIL FROM:<a@small.example> SIZE=4096"), /^552 5\.3\.4/);
  await talk.say("RSET");
  await talk.say("MAIL FROM:<a@small.example>");
  for (const n of [1, 2]) assert.match(await talk.say(`RCPT TO:<u${n}@x.example>`), /^250/);
  assert.match(await talk.say("RCPT TO:<u3@x.example>"), /^452 4\.5\.3/);
  {
    await using talk = await openAs("daily");
    assert.match(await post(talk, "daily"), /^452 4\.3\.1/, "held back since the last refusal");
  }
  const samples = await scrape(local);
  assert.ok(
    sumOf(samples, "mailboat_tenant_limit_seconds_total", { tenant: "mail/daily", limit: "quota" }) > 0,
  );
  for (const [tenant, reason] of [
    ["mail/rejected", "tenant-rejected"],
    ["mail/fast", "rate"],
    ["mail/daily", "quota"],
    ["mail/full", "queue-full"],
    ["mail/acme", "unknown-stream"],
    ["mail/small", "too-large"],
  ] as const)
    assert.ok(sumOf(samples, "mailboat_rejections_total", { tenant, reason }) >= 1, `${tenant} ${reason}`);
});

test("STARTTLS and implicit TLS work with the authority that local mode prints", async () => {
  {
    await using talk = await openTalk(local.endpoints.submission);
    await talk.hear();
    assert.match(await talk.say("EHLO client.example"), /STARTTLS/);
    assert.match(await talk.say("STARTTLS"), /^220/);
    await talk.secure(local.ca);
    assert.match(await talk.say("EHLO client.example"), /AUTH PLAIN LOGIN/);
    assert.match(await talk.say(plainLogin("acme", testPassword)), /^235/);
    assert.match(await post(talk, "acme", { to: "starttls@x.example" }), /^250/);
  }
  await using talk = await openTalk(local.endpoints.submissions, local.ca);
  await talk.hear();
  await talk.say("EHLO client.example");
  assert.match(await talk.say(plainLogin("acme", testPassword)), /^235/);
  assert.match(await post(talk, "acme", { to: "smtps@x.example" }), /^250/);
  await until("both", () => arrived("starttls@x.example") && arrived("smtps@x.example"));
});

function http(path: string, user: string, init: RequestInit = {}): Promise<Response> {
  const authorization = `Basic ${Buffer.from(`${user}:${testPassword}`).toString("base64")}`;
  return fetch(`http://${local.endpoints.http}${path}`, {
    ...init,
    headers: { authorization, ...(init.headers as Record<string, string> | undefined) },
  });
}

test("HTTP takes JSON and whole messages, and shows a message to its own tenant only", async () => {
  const json = await http("/v1/messages", "acme", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      from: "Acme <a@acme.example>",
      to: ["json@x.example"],
      subject: "grüße",
      text: "text",
      html: "<p>text</p>",
      stream: "news",
    }),
  });
  assert.equal(json.status, 202);
  const { id } = (await json.json()) as { id: string };
  const whole = await http("/v1/messages", "acme", {
    method: "POST",
    headers: { "content-type": "message/rfc822" },
    body: "From: a@acme.example\r\nTo: whole@x.example\r\nSubject: s\r\n\r\nwhole\r\n",
  });
  assert.equal(whole.status, 202);
  await settled(local, id, { types: ["received", "delivered"] });
  await until("both", () => arrived("json@x.example") && arrived("whole@x.example"));
  const own = (await (await http(`/v1/messages/${id}`, "acme")).json()) as { events: { stream: string }[] };
  assert.equal(own.events[0]?.stream, "news");
  const foreign = await http(`/v1/messages/${id}`, "other");
  const unknown = await http("/v1/messages/01m87d60b4x4q30591x00013bs", "other");
  assert.equal(foreign.status, 404);
  // Word for word the same: nobody learns whether an id exists.
  assert.deepEqual(await foreign.text(), await unknown.text());
  assert.equal((await fetch(`http://${local.endpoints.http}/v1/messages/${id}`)).status, 401);
  const posing = await http("/v1/messages", "other", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ from: "a@acme.example", to: "u@x.example", subject: "s", text: "t" }),
  });
  assert.equal(posing.status, 403);
});

test("what a login names as its stream stands in events; the header that chose it does not leave, nor what nobody else is to see", async () => {
  const [id = ""] = await sendBurst({
    address: local.endpoints.smtp,
    count: 1,
    connections: 1,
    recipient: () => "stream@x.example",
    content: () =>
      "X-Mailboat-Stream: news\r\nReturn-Path: <x@y.example>\r\nSubject: s\r\nBcc: hidden@x.example,\r\n me@x.example\r\n\r\ntext\r\n",
  });
  await settled(local, id, { types: ["received", "delivered"] });
  const [got] = provider.messages.list({ to: "stream@x.example", limit: 1 });
  const raw = provider.messages.raw(got?.number ?? 0)?.toString() ?? "";
  assert.doesNotMatch(raw, /X-Mailboat-Stream|Return-Path|Bcc|me@x/i);
  assert.match(raw, new RegExp(`id ${id}[^]*\\r\\nSubject: s\\r\\n\\r\\ntext\\r\\n$`));
});
