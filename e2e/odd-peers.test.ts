/** Hosts that do not do what they offer, or take less than they are given: the mail arrives all the same, and soon. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { parseRules } from "#operator/provider/rules.ts";
import { startDnsServer } from "#test/kit/dns-server.ts";
import { startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { startPeer } from "#test/kit/smtp-peer.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { explain, ruleTo, settled, submit } from "#test/kit/world.ts";

const offer = `
  S: 220 ready
  C: EHLO out.example.net
  S: 250-ready
  S: 250 PIPELINING`;
const chunking = offer.replace("S: 250 PIPELINING", "S: 250-CHUNKING\n  S: 250 PIPELINING");
const taken = "S: 354 go\nBODY\nS: 250 taken";

test("a host that offers CHUNKING and does not understand BDAT gets the mail by DATA, at once", async () => {
  await using peer = await startPeer([
    `${chunking}\nC: MAIL*\nC: RCPT*\nC: BDAT*\nCHUNK\nS: 250 m\nS: 250 r\nS: 502 5.5.1 what is BDAT\nHANG`,
    `${chunking}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\n${taken}`,
  ]);
  const rules = [ruleTo("confused", peer.target.port, { tls: { mode: "None" } })];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 1 });
  const id = await submit(local, { to: "u@confused.example" });
  const { events } = await settled(local, id, { types: ["received", "attempted", "delivered"] });
  assert.match(events.find(({ type }) => type === "attempted")?.text ?? "", /BDAT with 502/);
  assert.deepEqual([peer.mismatches, peer.bodies.length], [[], 2], "once refused, once taken");
});

test("a host that refuses RSET after refused recipients gets the next mail on another connection", async () => {
  const refused = "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 550 5.1.1 nobody\nS: 503 nobody";
  await using peer = await startPeer([
    `${offer}\n${refused}\nC: RSET\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 500 what is RSET\nHANG`,
    `${offer}\nC: MAIL*\nC: RCPT*\nC: DATA\nS: 250 m\nS: 250 r\n${taken}`,
  ]);
  const rules = [ruleTo("strict", peer.target.port, { tls: { mode: "None" }, limits: { connections: 1 } })];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 1 });
  const first = await submit(local, { to: "nobody@strict.example" });
  await settled(local, first, { types: ["received", "bounced"] });
  const second = await submit(local, { to: "u@strict.example" });
  await settled(local, second, { types: ["received", "attempted", "delivered"] });
  assert.deepEqual([peer.mismatches, peer.bodies.length], [[], 1]);
});

test("a host that takes two recipients at a time gets five in three transactions, one after the other", async () => {
  const accepted = (count: number) => "S: 250 r\n".repeat(count);
  const surplus = (count: number) => "S: 452 4.5.3 too many recipients\n".repeat(count);
  const batch = (asked: number) =>
    `C: MAIL*\n${"C: RCPT*\n".repeat(asked)}C: DATA\nS: 250 m\n${accepted(Math.min(asked, 2))}${surplus(Math.max(0, asked - 2))}${taken}`;
  await using peer = await startPeer([[offer, batch(5), batch(3), batch(1)].join("\n")]);
  const rules = [ruleTo("narrow", peer.target.port, { tls: { mode: "None" } })];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 1 });
  const to = [1, 2, 3, 4, 5].map((n) => `u${n}@narrow.example`);
  const id = await submit(local, { to });
  const delivered = to.map(() => "delivered");
  const { events } = await settled(local, id, { types: ["received", ...delivered] });
  const of = (type: string) => events.filter((one) => one.type === type).flatMap((one) => one.to ?? []);
  assert.deepEqual(of("delivered"), to);
  assert.deepEqual(of("deferred"), []);
  assert.deepEqual([peer.mismatches, peer.bodies.length], [[], 3]);
});

test("of a host that takes one recipient at a time one that it puts off does not hold up the others", async () => {
  const rcpt = (count: number) => "C: RCPT*\n".repeat(count);
  const surplus = (count: number) => "S: 452 4.5.3 one at a time\n".repeat(count);
  const putOff = `C: MAIL*\n${rcpt(3)}C: DATA\nS: 250 m\nS: 450 4.2.0 later\n${surplus(2)}S: 503 nobody`;
  const second = `C: RSET\nC: MAIL*\n${rcpt(2)}C: DATA\nS: 250 reset\nS: 250 m\nS: 250 r\n${surplus(1)}${taken}`;
  const last = `C: MAIL*\n${rcpt(1)}C: DATA\nS: 250 m\nS: 250 r\n${taken}`;
  await using peer = await startPeer([[offer, putOff, second, last].join("\n")]);
  const rules = [
    ruleTo("single", peer.target.port, { tls: { mode: "None" }, retry: { first: "1h", max: "1h" } }),
  ];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 1 });
  const to = [1, 2, 3].map((n) => `u${n}@single.example`);
  const id = await submit(local, { to });
  const { events, entries } = await until(
    "the others to have it",
    async () => {
      const now = await explain(local, id);
      return now.events.filter(({ type }) => type === "delivered").length === 2 && now;
    },
    20_000,
  );
  const of = (type: string) => events.filter((one) => one.type === type).flatMap((one) => one.to ?? []);
  assert.deepEqual([of("deferred"), of("delivered")], [[to[0]], [to[1], to[2]]]);
  assert.deepEqual(
    entries.map((entry) => Reflect.get(entry, "to") as unknown),
    [[to[0]]],
  );
  assert.deepEqual([peer.mismatches, peer.bodies.length], [[], 2]);
});

/** MX hosts are spoken to at port 25. */
const isPrivileged = process.getuid?.() === 0;

test("a customer of a provider whose own hosts are dead does not hold up the provider's other customers", {
  skip: isPrivileged ? false : "port 25 takes root",
}, async (t) => {
  const [alive, dead] = ["127.0.0.78", "127.0.0.79"];
  await using provider = await startProvider({ host: alive, ports: [25] });
  await using dns = await startDnsServer({
    "fine.example": { MX: [[10, "fine.hoster.example"]] },
    "dead.example": { MX: [[10, "dead.hoster.example"]] },
    "fine.hoster.example": { A: [alive] },
    "dead.hoster.example": { A: [dead] },
  });
  const rule = {
    name: "hoster",
    match: { mxSuffixes: [".hoster.example"] },
    limits: { connections: 5, messageRate: "50/s" },
    tls: { mode: "None" },
  };
  const resources = testResources({ rules: [rule] });
  await using local = await startLocal({ resources, pods: 1, args: ["--resolver", dns.address] });
  const count = 500;
  const startedAt = performance.now();
  const [id = ""] = await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 1,
    recipient: (number) => `u${number}@${number % 10 === 5 ? "dead" : "fine"}.example`,
  });
  assert.notEqual(id, "");
  await until("the others", () => provider.audit.ids.unique() === count * 0.9, 60_000);
  const seconds = (performance.now() - startedAt) / 1000;
  t.diagnostic(`${count * 0.9} at 50/s after ${seconds.toFixed(1)} s`);
  assert.ok(seconds < 30, `${seconds} s: of the rate at least a third is used`);
  const { entries } = (await local.admin("/v1/queue?limit=1000")) as { entries: { attempt: number }[] };
  assert.equal(entries.length, count * 0.1);
  assert.ok(entries.every(({ attempt }) => attempt === 0));
  // Idle connections are to the others' hosts all the time: those that are back must be tried all the same.
  await using revived = await startProvider({ host: dead, ports: [25] });
  const revivedAt = performance.now();
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 1,
    recipient: (number) => `v${number}@fine.example`,
  });
  await until("the rest", () => revived.audit.ids.unique() === count * 0.1, 120_000);
  t.diagnostic(`the rest ${((performance.now() - revivedAt) / 1000).toFixed(1)} s after its hosts were back`);
});

test("domains of one message that had the same hosts and part while it waits: each goes where it belongs by now", {
  skip: isPrivileged ? false : "port 25 takes root",
}, async () => {
  const [first, second] = ["127.0.0.80", "127.0.0.81"];
  const later = parseRules({
    rules: [{ domains: ["stays.example", "moves.example", "lapses.example"], defer: { times: 1 } }],
  });
  assert.ok(later.ok);
  await using before = await startProvider({ host: first, ports: [25], rules: later.value });
  await using after = await startProvider({ host: second, ports: [25] });
  const hosts = { "mx.first.example": { A: [first] }, "mx.second.example": { A: [second] } };
  const there = { MX: [[10, "mx.first.example"]] } as const;
  await using dns = await startDnsServer({
    ...hosts,
    "stays.example": there,
    "moves.example": there,
    "lapses.example": there,
  });
  const retry = { first: "5s", max: "5s" };
  const rules = [{ name: "all", match: { domains: ["*"] }, retry, tls: { mode: "None" } }];
  const resources = testResources({ rules });
  await using local = await startLocal({ resources, pods: 1, args: ["--resolver", dns.address] });
  const domains = ["lapses", "stays", "moves"];
  const send = async (name: string, text: string) => {
    const to = domains.map((domain) => `${name}@${domain}.example`);
    const id = await submit(local, { to, text });
    await until("a deferral", async () => (await explain(local, id)).entries[0]?.state === "waiting");
    return { id, to };
  };
  const mails = [await send("small", "text"), await send("large", "x".repeat(1_500_000))];
  dns.setZones({
    ...hosts,
    "stays.example": there,
    "moves.example": { MX: [[10, "mx.second.example"]] },
    "stray.example": there,
  });
  // What was answered before is remembered for a while.
  await local.kill(0);
  for (const { id, to } of mails) {
    await settled(local, id, { types: ["received"], boundMs: 60_000 });
    const told = async (type: string, count: number) =>
      until(`${count} ${type}`, async () => {
        const { events } = await explain(local, id);
        const of = events.filter((one) => one.type === type).flatMap((one) => one.to ?? []);
        return of.length >= count && of.toSorted();
      });
    assert.deepEqual(await told("bounced", 1), to.slice(0, 1));
    assert.deepEqual(await told("delivered", 2), to.slice(1).toSorted());
  }
  const takenBy = (provider: Provider) =>
    provider.messages
      .list({ limit: 10 })
      .flatMap((one) => one.to)
      .toSorted();
  assert.deepEqual(takenBy(before), ["large@stays.example", "small@stays.example"]);
  assert.deepEqual(takenBy(after), ["large@moves.example", "small@moves.example"]);
});

/** It takes no connection up: the system's queue of them is full, and its process stands still. */
async function startSilentHost(): Promise<AsyncDisposable & { readonly port: number }> {
  const script = `const server = require("node:net").createServer();
    server.listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(said.toString("utf8"));
  child.kill("SIGSTOP");
  const queued = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await until("its queue to be full", () => queued.filter(({ connecting }) => !connecting).length >= 2);
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of queued) socket.destroy();
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

test("a first host that is silent costs its timeout once, not for each connection to the second", async (t) => {
  await using silent = await startSilentHost();
  await using provider = await startProvider();
  const rules = [
    {
      name: "all",
      match: { domains: ["*"] },
      limits: { connections: 1, messagesPerConnection: 2 },
      timeouts: { connect: "3s" },
      tls: { mode: "None" },
      routes: [silent, provider].map(({ port }) => ({ host: "127.0.0.1", port })),
    },
  ];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 1 });
  const count = 16;
  const startedAt = performance.now();
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 1,
    recipient: (n) => `u${n}@b.example`,
  });
  await until("all of it", () => provider.audit.ids.unique() === count, 60_000);
  const { total } = provider.audit.stats();
  const ms = performance.now() - startedAt;
  t.diagnostic(`${total.connections.total} connections in ${(ms / 1000).toFixed(1)} s`);
  assert.ok(total.connections.total >= count / 2);
  assert.ok(ms < 3 * 3000, `${ms} ms: eight timeouts would be 24 seconds`);
});
