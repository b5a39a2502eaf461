/**
 * Several rules lead to one smart host, lists of MX hosts have one in common, or sites of different places come to one host as their backup:
 * what it sees stays within the largest of their limits, whoever owns the shard, and all get on.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { shardOf } from "#crds/wire/subject.ts";
import { startProvider } from "#operator/provider/provider.ts";
import { startDnsServer } from "#test/kit/dns-server.ts";
import { startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { podStatuses } from "./kit/pod-status.ts";

const shards = 8;
const perRule = 250;
const rules = {
  newsletters: { connections: 3, messageRate: "40/s" },
  invoices: { connections: 2, messageRate: "15/s" },
  rest: { connections: 3, messageRate: "40/s" },
} as const;

function busiest(times: readonly number[], ms: number): number {
  return Math.max(...times.map((from) => times.filter((at) => at >= from && at < from + ms).length));
}

test("three rules with one smart host: together no more than the largest of their limits, also when their owner is killed", async (t) => {
  await using provider = await startProvider();
  const names = Object.keys(rules);
  const resources = testResources({
    shards,
    rules: Object.entries(rules).map(([name, limits]) => ({
      name,
      match: { domains: [name === "rest" ? "*" : `${name}.example`] },
      limits,
      routes: [{ host: "127.0.0.1", port: provider.port }],
    })),
  });
  await using local = await startLocal({ resources, pods: 4 });
  const arrived = (): number => provider.audit.ids.unique();
  await sendBurst({
    address: local.endpoints.smtp,
    count: perRule * names.length,
    connections: 8,
    recipient: (number) => `u${number}@${names[number % names.length]}.example`,
  });
  await until("a third of it", () => arrived() >= perRule, 60_000);
  const shard = shardOf(`127.0.0.1:${provider.port}`, shards);
  const owner = (await podStatuses(local)).findIndex((pod) => pod.shards.includes(shard));
  await local.kill(owner);
  await until("all of it", () => arrived() === perRule * names.length, 90_000);

  const { total, ids } = provider.audit.stats();
  const seen = provider.messages.list({ limit: 2 * perRule * names.length });
  const timesOf = (name?: string): number[] =>
    seen
      .filter(({ to }) => name === undefined || to.some((one) => one.endsWith(`@${name}.example`)))
      .map(({ at }) => at);
  const ofInvoices = busiest(timesOf("invoices"), 1000);
  t.diagnostic(
    `${total.busiestSecond} in the busiest second, ${ofInvoices} of them invoices; ${total.connections.most} connections at once; ${busiest(timesOf(), 5000)} in the best five seconds`,
  );
  assert.ok(total.busiestSecond <= 40, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= 3, `${total.connections.most} connections at once`);
  assert.ok(ofInvoices <= 15, `${ofInvoices} invoices in one sliding second`);
  assert.ok(busiest(timesOf(), 5000) >= 5 * 40 * 0.9, "the rate is used");
  assert.ok(ids.repeated <= 3, `${ids.repeated} came twice: of what was open at the kill`);
});

const catchAll = {
  name: "all",
  match: { domains: ["*"] },
  limits: { connections: 2, messageRate: "30/s" },
  tls: { mode: "None" },
};

/** MX hosts are spoken to at port 25. */
const isPrivileged = process.getuid?.() === 0;

test("domains whose MX hosts are the same in part: the host in all lists sees one limit, not the sum", {
  skip: isPrivileged ? false : "port 25 takes root",
}, async (t) => {
  const address = "127.0.0.77";
  await using provider = await startProvider({ host: address, ports: [25] });
  const hosts = ["a.mx.example", "b.mx.example", "backup.elsewhere.example"] as const;
  const [a, b, backup] = hosts;
  const lists = { "one.example": [a], "two.example": [a, b], "three.example": [a, b, backup] };
  const zones = Object.entries(lists).map(
    ([domain, names]) => [domain, { MX: names.map((host, at) => [at, host] as const) }] as const,
  );
  const addresses = hosts.map((host) => [host, { A: [address] }] as const);
  await using dns = await startDnsServer(Object.fromEntries([...zones, ...addresses]));
  const domains = Object.keys(lists);
  await using local = await startLocal({
    resources: testResources({ shards, rules: [catchAll] }),
    pods: 4,
    args: ["--resolver", dns.address],
  });
  const count = 300;
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 4,
    recipient: (number) => `u${number}@${domains[number % domains.length]}`,
  });
  await until("all of it", () => provider.audit.ids.unique() === count, 60_000);
  const { total, ids } = provider.audit.stats();
  const seen = provider.messages.list({ limit: 2 * count });
  const times = seen.map(({ at }) => at);
  t.diagnostic(`${total.busiestSecond} in the busiest second; ${total.connections.most} connections at once`);
  assert.ok(total.busiestSecond <= 30, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
  assert.ok(busiest(times, 5000) >= 5 * 30 * 0.9, "the rate is used");
  const half = seen.toSorted((one, other) => one.at - other.at).slice(0, count / 2);
  for (const domain of domains) {
    const of = half.filter(({ to }) => to.some((one) => one.endsWith(`@${domain}`))).length;
    assert.ok(of >= count / 2 / domains.length / 2, `${of} of the first ${count / 2} are for ${domain}`);
  }
  assert.equal(ids.repeated, 0);
});

test("domains of different organisations with one backup host: it sees one limit, not the sum, also when its home is killed", {
  skip: isPrivileged ? false : "port 25 takes root",
}, async (t) => {
  const [address, nobody, theirs] = ["127.0.0.82", "127.0.0.83", "127.0.0.84"];
  await using provider = await startProvider({ host: address, ports: [25] });
  await using own = await startProvider({ host: theirs, ports: [25] });
  const backup = "mx.isp.example";
  const away = ["one", "two", "three"];
  // The next has the same host as its first, another as one of two hosts that it is to be sent to alike.
  await using dns = await startDnsServer({
    ...Object.fromEntries(
      away.flatMap((name) => [
        [
          `${name}.example`,
          {
            MX: [
              [10, `mx.${name}.example`],
              [20, backup],
            ],
          },
        ],
        [`mx.${name}.example`, { A: [nobody] }],
      ]),
    ),
    "customer.example": { MX: [[10, backup]] },
    "even.example": {
      MX: [
        [10, "mx.even.example"],
        [10, backup],
      ],
    },
    "mx.even.example": { A: [theirs] },
    [backup]: { A: [address] },
  });
  const domains = [...away, "customer", "even"];
  await using local = await startLocal({
    resources: testResources({ shards, rules: [catchAll] }),
    pods: 4,
    args: ["--resolver", dns.address],
  });
  const count = 600;
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 4,
    recipient: (number) => `u${number}@${domains[number % domains.length]}.example`,
  });
  const arrived = (): number => provider.audit.ids.unique() + own.audit.ids.unique();
  await until("a quarter of it", () => arrived() >= count / 4, 60_000);
  const shard = shardOf("mx:isp.example/mx", shards);
  const home = (await podStatuses(local)).findIndex((pod) => pod.shards.includes(shard));
  await local.kill(home);
  await until("all of it", () => arrived() >= count, 120_000);

  const { total, ids } = provider.audit.stats();
  const seen = provider.messages.list({ limit: 2 * count });
  const times = seen.map(({ at }) => at);
  const of = (domain: string): number[] =>
    seen.filter(({ to }) => to.some((one) => one.endsWith(`@${domain}.example`))).map(({ at }) => at);
  t.diagnostic(
    `${total.busiestSecond} in the busiest second, ${busiest(times, 5000)} in the best five; ${total.connections.most} connections at once, ${total.connections.total} in all; ${own.audit.ids.unique()} by the other host`,
  );
  assert.ok(total.busiestSecond <= 30, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
  assert.ok(busiest(times, 5000) >= 5 * 30 * 0.8, `${busiest(times, 5000)} in the best five seconds`);
  const last = Math.max(...times);
  for (const domain of [...away, "customer"]) assert.ok(of(domain).length >= count / 5, domain);
  for (const domain of away)
    assert.ok(of(domain).filter((at) => at < last - 5000).length > 0, `${domain} got on before the end`);
  assert.ok(ids.repeated + own.audit.ids.repeated() <= 4, "of what was open at the kill");
});

test("two rules with smart hosts of their own and the same second one: it sees the larger limit, not the sum", async (t) => {
  await using provider = await startProvider();
  const second = { host: "127.0.0.1", port: provider.port };
  const names = ["letters", "rest"];
  const resources = testResources({
    shards,
    rules: names.map((name, at) => ({
      name,
      match: { domains: [name === "rest" ? "*" : `${name}.example`] },
      limits: { connections: 2, messageRate: "20/s" },
      // Nobody listens at the first.
      routes: [{ host: "127.0.0.85", port: 2501 + at }, second],
    })),
  });
  await using local = await startLocal({ resources, pods: 3 });
  const count = 200;
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 4,
    recipient: (number) => `u${number}@${names[number % names.length]}.example`,
  });
  await until("all of it", () => provider.audit.ids.unique() === count, 60_000);
  const { total, ids } = provider.audit.stats();
  const times = provider.messages.list({ limit: 2 * count }).map(({ at }) => at);
  t.diagnostic(
    `${total.busiestSecond} in the busiest second, ${busiest(times, 5000)} in the best five; ${total.connections.most} connections at once`,
  );
  assert.ok(total.busiestSecond <= 20, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
  assert.ok(busiest(times, 5000) >= 5 * 20 * 0.8, "the rate is used");
  assert.equal(ids.repeated, 0);
});
