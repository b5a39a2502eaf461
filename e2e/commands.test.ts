import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseRules } from "#operator/provider/rules.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { scrape, statuses, sumOf } from "#test/kit/scrape.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { ruleTo, settled, submit } from "#test/kit/world.ts";

const launcher = fileURLToPath(new URL("../operator/cli/mailboat.mjs", import.meta.url));

let provider: Provider;
let local: LocalMode;

before(async () => {
  const parsed = parseRules({
    rules: [
      { domains: ["later.example"], defer: { times: 1, stage: "data" } },
      { domains: ["gone.example"], bounce: {} },
      { domains: ["lost.example"], dropAfterDot: { times: 1 } },
      { domains: ["waits.example"], defer: { text: "4.7.1 greylisted" } },
    ],
  });
  assert.ok(parsed.ok);
  provider = await startProvider({ ports: Array.from({ length: 7 }, () => 0), rules: parsed.value });
  const names = ["later", "gone", "lost", "waits", "x", "acme"];
  const rules = names.map((name, at) =>
    ruleTo(name, provider.ports[at] ?? 0, name === "waits" ? { retry: { first: "5m" } } : {}),
  );
  rules.push(ruleTo("slow", provider.ports[6] ?? 0, { limits: { connections: 1, messageRate: "30/m" } }));
  const streams = { streams: [{ name: "news", class: "bulk" }] };
  const tenants = [{ name: "acme", spec: streams }, { name: "other" }];
  local = await startLocal({ resources: testResources({ tenants, rules }), pods: 2 });
});

after(async () => {
  await local?.[Symbol.asyncDispose]();
  await provider?.close();
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** `mailboat ARGS` as its own process, with the running local mode's state folder where it is one that asks it. */
function mailboat(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [launcher, ...args], (error, out, err) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      resolve({ code, out, err });
    });
  });
}

function asked(...args: readonly string[]): Promise<Ran> {
  return mailboat(...args, "--state", join(local.state, "state"));
}

test("validate ends with 0 for what can be applied, 1 for what cannot, 2 for wrong usage, and says where", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-validate-"));
  try {
    const file = join(folder, "all.yaml");
    await writeFile(file, testResources({ rules: [ruleTo("x", 25)] }));
    const good = await mailboat("validate", "-f", file);
    assert.equal(good.code, 0, good.out);
    assert.match(good.out, /valid: 4 resources/);
    const wrong = ruleTo("x", 25, { limits: { connections: 0 } });
    await writeFile(file, testResources({ rules: [wrong] }));
    const bad = await mailboat("validate", "-f", file, "--json");
    assert.equal(bad.code, 1);
    const { ok, issues } = JSON.parse(bad.out) as { ok: boolean; issues: Record<string, string>[] };
    assert.equal(ok, false);
    assert.match(issues[0]?.["source"] ?? "", /all\.yaml/);
    assert.equal(issues[0]?.["where"], "spec.rules[0].limits.connections");
    assert.ok(issues[0]?.["expected"] && issues[0]["got"]);
    assert.equal((await mailboat("validate")).code, 2);
    assert.equal((await mailboat("validate", "-f", join(folder, "missing"))).code, 1);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("send hands mail in as the first tenant, and why tells its story to the end", async () => {
  const sent = await asked("send", "--to", "u@later.example", "--count", "2", "--json");
  assert.equal(sent.code, 0, sent.err);
  const ids = sent.out
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { id: string }).id);
  assert.equal(new Set(ids).size, 2);
  const [id = ""] = ids;
  const types = ["received", "deferred", "delivered"];
  const { events } = await settled(local, id, { types });
  assert.deepEqual(
    events.map(({ type }) => type),
    types,
  );
  assert.deepEqual(
    events.map(({ attempt }) => attempt),
    [undefined, 1, 2],
  );
  const told = await asked("why", id);
  assert.equal(told.code, 0);
  assert.match(
    told.out,
    /received .*u@later\.example[\s\S]*deferred .*"451 4\.3\.0 try again later" \(rule mail\/test\/later\) next at [\s\S]*delivered .*"250 /,
  );
  assert.match(told.out, /nothing of it is queued any more/);
  const unknown = await asked("why", "01m87d60b4x4q30591x00013bs");
  assert.equal(unknown.code, 1);
  assert.match(unknown.out, /not known here/);
  const refused = await asked("send", "--to", "u@x.example", "--from", "a@other.example");
  assert.equal(refused.code, 1);
  assert.match(refused.out, /refused for u@x\.example: 550 5\.7\.1/);
  const to = ["--to", "u@x.example", "--to", "u@-.example"];
  const half = await asked("send", ...to);
  assert.equal(half.code, 1, "not everybody gets it");
  assert.match(half.out, /^queued as \S+ for u@x\.example\nrefused for u@-\.example: 501 5\.1\.3 /m);
  const parts = JSON.parse((await asked("send", ...to, "--json")).out) as Record<string, unknown>;
  assert.deepEqual(parts["to"], ["u@x.example"]);
  assert.deepEqual(
    (parts["refused"] as { to: string }[]).map((one) => one.to),
    ["u@-.example"],
  );
});

test("while mail waits, why and top name the limit that binds it, and queue ls shows it", async () => {
  const ids = await sendBurst({
    address: local.endpoints.smtp,
    user: "other",
    from: "a@other.example",
    count: 60,
    recipient: (number) => `u${number}@slow.example`,
  });
  const last = ids.toSorted((a, b) => (a < b ? -1 : 1)).at(-1) ?? "";
  const why = await until("the rate to bind it", async () => {
    const ran = await asked("why", last);
    return /held back by messageRate/.test(ran.out) && ran;
  });
  assert.match(why.out, /queued for u\d+@slow\.example at site 127\.0\.0\.1:\d+: ready, expires in /);
  const json = JSON.parse((await asked("why", last, "--json")).out) as { binding: string; entries: object[] };
  assert.equal(json.binding, "messageRate");
  assert.equal(json.entries.length, 1);

  const waiting = await submit(local, { to: "u@waits.example" });
  await until("a deferral", async () => /deferred .*greylisted/.test((await asked("why", waiting)).out));
  const deferred = await asked("why", waiting);
  assert.match(deferred.out, /: waiting, expires in [\s\S]*next attempt in [45]m\d+s, at /);

  const listed = await asked("queue", "ls", "--tenant", "other", "--limit", "5");
  assert.equal(listed.code, 0);
  assert.match(listed.out, /mail\/other +127\.0\.0\.1:\d+ +u\d+@slow\.example .*ready +now/);
  assert.match(listed.out, /and more/);
  const one = JSON.parse((await asked("queue", "ls", "--id", waiting, "--json")).out) as {
    entries: { id: string; state: string; attempt: number }[];
  };
  assert.deepEqual(
    one.entries.map(({ id, state, attempt }) => [id, state, attempt]),
    [[waiting, "waiting", 1]],
  );
  const domain = JSON.parse((await asked("queue", "ls", "--domain", "waits.example", "--json")).out) as {
    entries: { id: string }[];
  };
  assert.deepEqual(
    domain.entries.map(({ id }) => id),
    [waiting],
  );

  const top = await asked("top", "--once");
  assert.equal(top.code, 0);
  assert.match(top.out, /mail\/other +\d+ +0 +0 /);
  assert.match(top.out, /127\.0\.0\.1:\d+ +\d+ +1 +\d+ +\d+\.\d +messageRate/);
  const { tenants } = JSON.parse((await asked("top", "--json")).out) as { tenants: { tenant: string }[] };
  assert.ok(tenants.some(({ tenant }) => tenant === "mail/other"));

  const acted = await asked("queue", "bounce", "--tenant", "other");
  assert.equal(acted.code, 0, acted.err);
  await until("nothing of it to be queued", async () =>
    /nothing is queued/.test((await asked("queue", "ls", "--tenant", "other")).out),
  );
});

test("suspended mail stays, resumed and retried mail goes, and an empty selection is refused", async () => {
  const suspended = await asked("queue", "suspend", "--site", `127.0.0.1:${provider.ports[4]}`);
  assert.equal(suspended.code, 0, suspended.err);
  const id = await submit(local, { to: "later@x.example" });
  const why = await until("it to be held", async () => {
    const ran = await asked("why", id);
    return /: suspended, expires in /.test(ran.out) && ran;
  });
  assert.match(why.out, /held back by /);
  assert.equal(provider.messages.list({ to: "later@x.example", limit: 1 }).length, 0);
  assert.equal((await asked("queue", "resume")).code, 2);
  const resumed = await asked("queue", "resume", "--site", `127.0.0.1:${provider.ports[4]}`);
  assert.equal(resumed.code, 0, resumed.err);
  await settled(local, id, { types: ["received", "delivered"] });
  // What waits for its time is tried at once: here it is refused once more.
  const refusals = () => provider.audit.refusals(1000).filter(({ to }) => to === "u@waits.example").length;
  const before = refusals();
  assert.equal((await asked("queue", "retry", "--domain", "waits.example")).code, 0);
  await until("another attempt", () => refusals() > before);
});

test("after traffic every metric of the interface is there, with its labels", async () => {
  const sent = [
    submit(local, { to: "u@x.example", headers: { "X-Mailboat-Stream": "news" } }),
    submit(local, { to: "u@gone.example" }),
    submit(local, { to: "u@lost.example" }),
  ];
  for (const id of await Promise.all(sent)) await settled(local, id, { types: ["received"] });
  await asked("send", "--to", "u@x.example", "--from", "a@other.example");
  const samples = await scrape(local);
  const tenant = "mail/acme";
  const source = "default";
  const expected: [string, Record<string, string>, number][] = [
    ["mailboat_messages_received_total", { tenant, stream: "news" }, 1],
    ["mailboat_recipients_total", { tenant, stream: "news", provider: "x", outcome: "delivered" }, 1],
    ["mailboat_recipients_total", { tenant, provider: "gone", outcome: "bounced" }, 1],
    ["mailboat_recipients_total", { tenant: "mail/other", outcome: "bounced" }, 40],
    ["mailboat_deferrals_total", { tenant, provider: "later" }, 2],
    ["mailboat_queued_messages", { tenant, state: "waiting" }, 1],
    ["mailboat_delivery_seconds_count", { tenant, stream: "news" }, 1],
    ["mailboat_rejections_total", { tenant, reason: "sender-domain" }, 2],
    ["mailboat_attempts_total", { provider: "x", source, result: "delivered" }, 1],
    ["mailboat_attempts_total", { provider: "gone", source, result: "bounced" }, 1],
    ["mailboat_site_limit_seconds_total", { provider: "slow", limit: "messageRate" }, 1],
    ["mailboat_shards_owned", {}, 8],
    ["mailboat_config_generation", {}, 2],
    ["mailboat_possible_duplicates_total", {}, 1],
    ["mailboat_spool_seconds_count", {}, 1],
  ];
  for (const [name, labels, least] of expected) {
    const sum = sumOf(samples, name, labels);
    assert.ok(sum >= least, `${name} ${JSON.stringify(labels)}: ${sum}`);
  }
  const known = new Set(samples.map(({ name }) => name));
  for (const name of [
    "mailboat_queue_oldest_seconds",
    "mailboat_sendable_backlog",
    "mailboat_config_errors_total",
  ])
    assert.ok(known.has(name), name);
  const connections = samples.filter(({ name }) => name === "mailboat_connections");
  assert.ok(connections.length > 0, "connections are kept for a while");
  for (const { labels } of connections) {
    assert.equal(labels["source"], source, JSON.stringify(labels));
    assert.doesNotMatch(labels["provider"] ?? "", /^127\./);
  }
  assert.equal(sumOf(samples, "mailboat_shards_owned"), 8);
});

test("each pod answers for its health, and says what it runs", async () => {
  for (const address of local.endpoints.metrics)
    for (const path of ["/healthz", "/readyz"])
      assert.equal((await fetch(`http://${address}${path}`)).status, 200, path);
  const all = await statuses(local);
  assert.equal(all.length, 2);
  const shards = all.flatMap((status) => status["shards"] as number[]).toSorted((a, b) => a - b);
  assert.deepEqual(shards, [0, 1, 2, 3, 4, 5, 6, 7]);
  for (const status of all) {
    assert.equal(status["pool"], "mail/shared");
    assert.equal(typeof status["generation"], "number");
    assert.equal(typeof status["queued"], "number");
  }
});
