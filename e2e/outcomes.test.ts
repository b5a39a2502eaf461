import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseRules, type ProviderRulesInput } from "#operator/provider/rules.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { mailboat } from "#test/kit/command-line.ts";
import { type DnsServer, startDnsServer } from "#test/kit/dns-server.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { readReport, type Report } from "#test/kit/report.ts";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { type Peer, startPeer } from "#test/kit/smtp-peer.ts";
import { until } from "#test/kit/until.ts";
import { explain, ruleTo, settled, submit } from "#test/kit/world.ts";

const providerRules: ProviderRulesInput = {
  rules: [
    { domains: ["later.example"], defer: { times: 1 } },
    { domains: ["gone.example", "unreachable-sender.example"], bounce: {} },
    { domains: ["closing.example"], closeAfter: { messages: 1, how: "421" } },
    { domains: ["busy.example"], defer: { times: 1, code: 421, text: "4.7.0 come back" } },
    { domains: ["lost.example"], dropAfterDot: { times: 1, record: true } },
    { mailboxes: ["no@mixed.example", "no@split-b.example"], bounce: {} },
    { mailboxes: ["later@mixed.example"], defer: { times: 1 } },
  ],
};

/** Every conversation after the first takes the message. */
const takes = `
  S: 220 ready
  C: EHLO out.example.net
  S: 250 ok
  C: MAIL FROM*
  S: 250 ok
  C: RCPT TO*
  S: 250 ok
  C: DATA
  S: 354 go
  BODY
  S: 250 taken`;

const silences = { greeting: 0, ehlo: 2, mail: 4, rcpt: 6, data: 8, final: 10 } as const;

function silentAt(step: number): string {
  return [...takes.trim().split("\n").slice(0, step), "HANG"].join("\n");
}

const compare = (a = "", b = ""): number => (a < b ? -1 : 1);

const impatience = { connect: "2s", banner: "1s", command: "1s", data: "1s", final: "1s" };

describe("outcomes", { concurrency: true }, () => {
  let provider: Provider;
  let dns: DnsServer;
  let local: LocalMode;
  /** Takes one connection at a time; the next is greeted with 421. */
  let full: Provider;
  /** Refuses its first connection. */
  let unwelcoming: Peer;
  const peers = new Map<string, Peer>();

  before(async () => {
    const parsed = parseRules(providerRules);
    assert.ok(parsed.ok);
    const names = ["acme", "later", "gone", "closing", "busy", "lost", "mixed"];
    names.push("split-a", "split-b", "split-c", "big", "unreachable-sender");
    provider = await startProvider({ ports: names.map(() => 0), rules: parsed.value });
    full = await startProvider({ rules: { rules: [], connections: 1 } });
    unwelcoming = await startPeer(["S: 554 5.7.1 you are blocked, see https://x.example\nCLOSE", takes]);
    dns = await startDnsServer({
      "refuses.example": { MX: [[0, "."]] },
      "broken.example": { fault: "servfail" },
    });
    const rules = names.map((name, at) => ruleTo(name, provider.ports[at] ?? 0));
    rules.push(ruleTo("full", full.port));
    rules.push(ruleTo("unwelcoming", unwelcoming.target.port, { tls: { mode: "None" } }));
    for (const [stage, step] of Object.entries(silences)) {
      const peer = await startPeer([silentAt(step), takes]);
      peers.set(stage, peer);
      rules.push(
        ruleTo(`silent-${stage}`, peer.target.port, { timeouts: impatience, tls: { mode: "None" } }),
      );
    }
    const tenants = [{ name: "acme" }, { name: "unreachable-sender" }];
    local = await startLocal({
      resources: testResources({ tenants, rules }),
      pods: 2,
      args: ["--resolver", dns.address],
    });
  });

  after(async () => {
    await local?.[Symbol.asyncDispose]();
    await provider?.close();
    await full?.close();
    await unwelcoming?.[Symbol.asyncDispose]();
    await dns?.close();
    for (const peer of peers.values()) await peer[Symbol.asyncDispose]();
  });

  /** Copies that the provider took for an address. */
  const copies = (to: string) => provider.messages.list({ to, limit: 100 });

  /** The report about the message with this subject, sent to its sender. */
  const reportAbout = async (subject: string, sender: string): Promise<Report> => {
    const found = await until("the delivery report", () =>
      copies(sender).find(({ number, from }) => {
        const raw = provider.messages.raw(number)?.toString("utf8") ?? "";
        return from === "" && raw.includes(`Subject: ${subject}\r\n`);
      }),
    );
    return readReport(provider.messages.raw(found.number) ?? Buffer.alloc(0));
  };

  test("a message that is refused for now is tried again after its first wait, and delivered once", async () => {
    const id = await submit(local, { to: "u@later.example" });
    const { events } = await settled(local, id, { types: ["received", "deferred", "delivered"] });
    const deferred = events.find(({ type }) => type === "deferred");
    assert.equal(deferred?.code, 451);
    assert.equal(copies("u@later.example").length, 1);
  });

  test("a message that is refused for good comes back as a report that a parser takes", async () => {
    const id = await submit(local, { to: "u@gone.example", subject: "refused for good" });
    await settled(local, id, { types: ["received", "bounced"] });
    const report = await reportAbout("refused for good", "a@acme.example");
    assert.match(report.message["reporting-mta"] ?? "", /^dns; ?out\.example\.net$/);
    assert.equal(report.recipients.length, 1);
    const [one = {}] = report.recipients;
    assert.match(one["final-recipient"] ?? "", /^rfc822; ?u@gone\.example$/);
    assert.equal(one["action"], "failed");
    assert.equal(one["status"], "5.1.1");
    assert.match(one["diagnostic-code"] ?? "", /^smtp; ?550 5\.1\.1 no such user here$/);
    assert.match(report.header, /Auto-Submitted: auto-replied/);
    assert.match(report.text, /u@gone\.example/);
    assert.equal(copies("u@gone.example").length, 0);
  });

  test("of three recipients of a site one is taken, one refused and one tried again, each by its own reply", async () => {
    const to = ["ok@mixed.example", "no@mixed.example", "later@mixed.example"];
    const id = await submit(local, { to, subject: "mixed" });
    const { events } = await settled(local, id, { types: ["received", "deferred", "delivered"] });
    const of = (type: string) => events.filter((event) => event.type === type).flatMap((event) => event.to);
    assert.deepEqual(of("bounced"), ["no@mixed.example"]);
    assert.deepEqual(of("deferred"), ["later@mixed.example"]);
    assert.deepEqual(of("delivered").toSorted(compare), ["later@mixed.example", "ok@mixed.example"]);
    assert.deepEqual(
      copies("ok@mixed.example").map((copy) => copy.to),
      [["ok@mixed.example"]],
    );
    assert.deepEqual(
      copies("later@mixed.example").map((copy) => copy.to),
      [["later@mixed.example"]],
    );
    const report = await reportAbout("mixed", "a@acme.example");
    assert.equal(report.recipients.length, 1);
    assert.match(report.recipients[0]?.["final-recipient"] ?? "", /no@mixed\.example$/);
  });

  test("a 421 to a recipient defers the message, a 421 to the next MAIL costs it nothing", async () => {
    const id = await submit(local, { to: "u@busy.example" });
    await settled(local, id, { types: ["received", "deferred", "delivered"] });
    assert.equal(copies("u@busy.example").length, 1);
    const ids = await Promise.all([1, 2, 3, 4].map((n) => submit(local, { to: `u${n}@closing.example` })));
    for (const one of ids) await settled(local, one, { types: ["received", "delivered"] });
    for (const n of [1, 2, 3, 4]) assert.equal(copies(`u${n}@closing.example`).length, 1);
  });

  for (const stage of Object.keys(silences))
    test(`a host that falls silent at the ${stage} is given up in time, and tried again`, async () => {
      const started = performance.now();
      const id = await submit(local, { to: `u@silent-${stage}.example` });
      const { events } = await settled(local, id, { types: ["received", "delivered"] });
      const peer = peers.get(stage);
      assert.deepEqual(peer?.mismatches, []);
      assert.equal(peer?.bodies.length, stage === "final" ? 2 : 1);
      const beforeMail = stage === "greeting" || stage === "ehlo";
      const tried = events.find(({ type }) => type === (beforeMail ? "attempted" : "deferred"));
      assert.ok(tried !== undefined, JSON.stringify(events));
      assert.match(tried.text ?? "", /time|silent|no /i);
      assert.ok(performance.now() - started > 1000);
    });

  /** What is known of a message once `why` says all this of it. */
  const attempted = async (id: string, ...words: string[]) => {
    await until(`why to say ${words.join(" and ")}`, async () => {
      const { out } = await mailboat("why", id, "--state", join(local.state, "state"));
      return words.every((some) => out.includes(some));
    });
    const { events, entries } = await explain(local, id);
    return { event: events.find(({ type }) => type === "attempted"), entries };
  };

  test("a host that greets with 421 is told with its own words, and gets the message when it has room", async () => {
    await using other = connect(full.port, full.host);
    await once(other, "data");
    const id = await submit(local, { to: "u@full.example" });
    const said = "421 4.7.0 too many connections, try again later";
    const { event, entries } = await attempted(id, `"greeting: ${said}"`, `held back by backoff: ${said}`);
    assert.deepEqual([event?.text, event?.code, event?.class], [`greeting: ${said}`, 421, "rate-limited"]);
    assert.equal(entries[0]?.attempt, 0, "the message itself was not tried");
    full.setRules({ rules: [] });
    await settled(local, id, { types: ["received", "attempted", "delivered"] });
  });

  test("a host that greets with 554 is told with its own words, and tried again", async () => {
    const id = await submit(local, { to: "u@unwelcoming.example" });
    const said = "554 5.7.1 you are blocked, see https://x.example";
    const { event } = await attempted(id, `"greeting: ${said}"`);
    assert.deepEqual([event?.text, event?.code, event?.class], [`greeting: ${said}`, 554, "policy"]);
    await settled(local, id, { types: ["received", "attempted", "delivered"] });
  });

  test("a host that hangs up after the dot gets the message again, and that is counted as a possible double", async () => {
    const id = await submit(local, { to: "u@lost.example" });
    const { events } = await settled(local, id, { types: ["received", "deferred", "delivered"] });
    const deferred = events.find(({ type }) => type === "deferred");
    assert.equal(deferred?.class, "unanswered");
    assert.match(deferred?.text ?? "", /^connection lost after the dot: /);
    assert.equal(copies("u@lost.example").length, 2);
    // The second at most is that of the host which is silent after the dot.
    const counted = sumOf(await scrape(local), "mailboat_possible_duplicates_total");
    assert.ok(counted >= 1 && counted <= 2, `${counted} counted`);
  });

  test("a domain that does not exist, or takes no mail, is refused at once with its code", async () => {
    for (const [domain, code, enhanced, status] of [
      ["nowhere.example", 550, "5.1.2", "5.1.2"],
      ["refuses.example", 556, "5.1.10", "5.1.10"],
    ] as const) {
      const subject = `to ${domain}`;
      const id = await submit(local, { to: `u@${domain}`, subject });
      const { events } = await settled(local, id, { types: ["received", "bounced"] });
      const bounced = events.find(({ type }) => type === "bounced");
      assert.equal(bounced?.code, code);
      assert.equal(bounced?.enhanced, enhanced);
      const report = await reportAbout(subject, "a@acme.example");
      assert.equal(report.recipients[0]?.["status"], status);
    }
  });

  test("a domain whose DNS fails waits: nothing is refused for trouble that may pass", async () => {
    const id = await submit(local, { to: "u@broken.example" });
    const told = await until(
      "a deferral",
      async () => {
        const now = await explain(local, id);
        return now.events.some(({ type }) => type === "deferred") && now;
      },
      40_000,
    );
    assert.match(told.events.at(-1)?.text ?? "", /server failure/);
    assert.equal(told.entries.length, 1);
    assert.ok((told.nextAttempt ?? 0) > Date.now());
  });

  test("a message for several sites is taken once, and each recipient gets it once", async () => {
    const to = ["a@split-a.example", "b@split-b.example", "no@split-b.example", "c@split-c.example"];
    const id = await submit(local, { to, subject: "split" });
    await settled(local, id, { types: ["received", "delivered", "delivered", "delivered"] });
    for (const address of ["a@split-a.example", "b@split-b.example", "c@split-c.example"])
      assert.equal(copies(address).length, 1, address);
    const report = await reportAbout("split", "a@acme.example");
    assert.equal(report.recipients.length, 1);
  });

  test("a report that is refused itself makes no further report", async () => {
    const user = "unreachable-sender";
    const id = await submit(local, { to: "u@gone.example", subject: "nobody to tell" }, user);
    await settled(local, id, { types: ["received", "bounced"] });
    const refused = () =>
      provider.audit.refusals(1000).filter(({ to }) => to === "a@unreachable-sender.example");
    await until("the report to be refused", () => refused().length > 0);
    const queued = async () => {
      const { entries } = (await local.admin(`/v1/queue?tenant=${user}`)) as { entries: unknown[] };
      return entries;
    };
    await until("nothing to be queued", async () => (await queued()).length === 0);
    assert.equal(refused().length, 1);
    assert.equal(refused()[0]?.from, "");
  });
});
