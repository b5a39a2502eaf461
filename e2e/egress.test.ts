import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { scrape, statuses, sumOf } from "#test/kit/scrape.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { login, type ProxyProcess, startMailboatProxy } from "./kit/proxies.ts";

const perSecond = 20;
const launcher = fileURLToPath(new URL("../operator/cli/mailboat.mjs", import.meta.url));

function resourcesOf(provider: Provider, egress: Readonly<Record<string, unknown>>, limits: object): string {
  return testResources({
    rules: [
      {
        name: "limited",
        match: { domains: ["limited.example"] },
        limits,
        // What was after its dot when its proxy died waits for its next attempt.
        retry: { first: "1s", max: "2s" },
        routes: [{ host: "127.0.0.1", port: provider.port }],
      },
    ],
    secrets: { "proxy-login": login },
    egress,
  });
}

function throughProxies(first: ProxyProcess, second: ProxyProcess): Readonly<Record<string, unknown>> {
  return {
    mode: "Proxy",
    proxy: { secretRef: { name: "proxy-login" }, connectTimeout: "2s" },
    sources: [
      { name: "a", ehlo: "a.out.example.net", proxy: { host: "127.0.0.1", port: first.port } },
      {
        name: "b",
        ehlo: "b.out.example.net",
        address: "127.0.0.3",
        proxy: { host: "127.0.0.1", port: second.port },
      },
    ],
  };
}

function send(local: LocalMode, count: number, from = 0): Promise<string[]> {
  return sendBurst({
    address: local.endpoints.smtp,
    count,
    recipient: (number) => `u${from + number}@limited.example`,
  });
}

const arrived = (provider: Provider): number => provider.audit.ids.unique();

function told(t: TestContext, provider: Provider): void {
  const { sources } = provider.audit.stats();
  for (const [address, meter] of Object.entries(sources))
    t.diagnostic(
      `${address}: ${meter.messages} messages, ${meter.connections.most} connections at once, ${meter.busiestSecond} in the busiest second`,
    );
}

test("two sources send through two proxies, each from its address, with its name, within its limits", async (t) => {
  await using provider = await startProvider();
  // One sends from the address it was started with, the other from the one that the pods ask for.
  await using first = await startMailboatProxy(["--source-address", "127.0.0.2"], { byLauncher: true });
  await using second = await startMailboatProxy();
  const limits = { connections: 2, messageRate: `${perSecond}/s` };
  const count = 300;
  await using local = await startLocal({
    resources: resourcesOf(provider, throughProxies(first, second), limits),
    pods: 2,
  });
  await send(local, count);
  await until("all of it", () => arrived(provider) === count, 120_000);
  told(t, provider);
  const { sources, ids } = provider.audit.stats();
  assert.equal(ids.repeated, 0);
  assert.deepEqual(Object.keys(sources).toSorted(), ["127.0.0.2", "127.0.0.3"]);
  for (const [address, meter] of Object.entries(sources)) {
    assert.ok(meter.busiestSecond <= perSecond, `${address}: ${meter.busiestSecond} in one sliding second`);
    assert.ok(meter.connections.most <= 2, `${address}: ${meter.connections.most} connections at once`);
    assert.ok(meter.messages > count / 3, `${address}: ${meter.messages} of ${count}`);
  }
  const names = provider.messages.list({ limit: count }).map(({ source, helo }) => `${source} ${helo}`);
  assert.deepEqual([...new Set(names)].toSorted(), [
    "127.0.0.2 a.out.example.net",
    "127.0.0.3 b.out.example.net",
  ]);
  const text = await (await fetch(`http://127.0.0.1:${second.metrics}/metrics`)).text();
  assert.match(text, /mailboat_proxy_requests_total\{result="connected"\} [1-9]/);
  // What a pod kept open is the last that a proxy that stops waits for.
  const stopped = second.stop();
  assert.equal(await stopped, 0);
});

test("kill -9 of a proxy: its mail goes by the other source, comes back to it later, and waits while both are away; none is lost", async (t) => {
  await using provider = await startProvider();
  await using first = await startMailboatProxy(["--source-address", "127.0.0.2"]);
  let second = await startMailboatProxy();
  const { port } = second;
  const limits = { connections: 4, messageRate: "100/s" };
  await using local = await startLocal({
    resources: resourcesOf(provider, throughProxies(first, second), limits),
    pods: 2,
  });
  const of = (address: string): number => provider.audit.stats().sources[address]?.messages ?? 0;
  const batch = 600;
  await send(local, batch);
  await until("both to send", () => of("127.0.0.2") > 50 && of("127.0.0.3") > 50, 120_000);
  await second.kill();
  await until("all of it", () => arrived(provider) === batch, 120_000);
  const before = of("127.0.0.3");
  await send(local, 100, batch);
  await until("what was sent without the proxy", () => arrived(provider) === batch + 100, 120_000);
  assert.equal(of("127.0.0.3"), before, "nothing comes from the address of a proxy that is away");
  await second[Symbol.asyncDispose]();
  second = await startMailboatProxy([], { port });
  let sent = batch + 100;
  await until(
    "the source to be used again",
    async () => {
      await send(local, 20, sent);
      sent += 20;
      return of("127.0.0.3") > before;
    },
    180_000,
  );
  await until("all of it again", () => arrived(provider) === sent, 120_000);
  await Promise.all([first.kill(), second.kill()]);
  await send(local, 50, sent);
  const failures = async (): Promise<number> =>
    sumOf(await scrape(local), "mailboat_attempts_total", { result: "proxy" });
  await until("both to be tried", async () => (await failures()) > 2, 120_000);
  assert.equal(arrived(provider), sent);
  await using again = await startMailboatProxy([], { port });
  await until("what waited", () => arrived(provider) === sent + 50, 120_000);
  assert.ok(again.port === port);
  told(t, provider);
  // What was in the air when a proxy died may come twice, and no more than could be.
  const { repeated } = provider.audit.stats().ids;
  t.diagnostic(`${sent + 50} sent, all arrived, ${repeated} twice`);
  assert.ok(repeated <= 16, `${repeated} repeated`);
});

test("a pool in mode Sink takes 10,000 messages, counts them as delivered, keeps the last and connects nowhere", async (t) => {
  await using provider = await startProvider();
  await using local = await startLocal({
    resources: resourcesOf(
      provider,
      {
        mode: "Sink",
        sources: [{ name: "a", ehlo: "a.out.example.net", proxy: { host: "127.0.0.1", port: 9 } }],
      },
      { connections: 10 },
    ),
    pods: 2,
  });
  const count = 10_000;
  const started = performance.now();
  const ids = await send(local, count);
  const sums = async (): Promise<number> =>
    sumOf(await scrape(local), "mailboat_recipients_total", { outcome: "delivered" });
  await until("all of it to be counted", async () => (await sums()) === count, 120_000);
  t.diagnostic(`${Math.round(count / ((performance.now() - started) / 1000))} messages/s in and out`);
  assert.equal(provider.audit.stats().total.connections.most, 0);
  const listed = (await local.admin("/v1/sink?limit=1000")) as { messages: { id: string; ehlo: string }[] };
  assert.equal(listed.messages.length, 1000);
  const [last] = listed.messages;
  assert.ok(last !== undefined && ids.includes(last.id) && last.ehlo === "a.out.example.net");
  const shown = (await local.admin(`/v1/sink/${last.id}`)) as { message: string };
  assert.match(Buffer.from(shown.message, "base64").toString(), /^Received: .*\r\n/);
  const mailboat = async (...args: string[]): Promise<string> =>
    (
      await promisify(execFile)(process.execPath, [
        launcher,
        "sink",
        ...args,
        "--state",
        join(local.state, "state"),
      ])
    ).stdout;
  assert.match(
    await mailboat("ls", "--limit", "3"),
    new RegExp(`${last.id} .* a \\(a\\.out\\.example\\.net\\)`),
  );
  assert.match(await mailboat("show", last.id), /^Received: .*\nFrom: <a@acme\.example>$/ms);
  await assert.rejects(mailboat("show", "nothing"), /expected a message that is kept/);
  const why = (await local.admin(`/v1/messages/${last.id}`)) as {
    events: { type: string; text?: string; mx?: string }[];
  };
  const delivered = why.events.find(({ type }) => type === "delivered");
  assert.match(delivered?.text ?? "", /^250 2\.0\.0 sink: /);
  assert.equal(delivered?.mx, "sink");
});

test("pods in mode HostNetwork send from the addresses that their host has, and wait when it has none", async (t) => {
  await using provider = await startProvider();
  const source = (name: string, address: string): object => ({
    name,
    address,
    ehlo: `${name}.out.example.net`,
  });
  const here = source("here", "127.0.0.8");
  const elsewhere = source("elsewhere", "192.0.2.7");
  const limits = { connections: 2 };
  const resources = (sources: object[]): string =>
    resourcesOf(provider, { mode: "HostNetwork", sources }, limits);
  await using local = await startLocal({ resources: resources([elsewhere, here]), pods: 2 });
  await send(local, 100);
  await until("all of it", () => arrived(provider) === 100, 120_000);
  told(t, provider);
  const { sources } = provider.audit.stats();
  assert.deepEqual(Object.keys(sources), ["127.0.0.8"]);
  assert.ok((sources["127.0.0.8"]?.connections.most ?? 0) <= 2);
  const { helo } = provider.messages.list({ limit: 1 })[0] ?? {};
  assert.equal(helo, "here.out.example.net");
  // None of its sources is here any more: nothing leaves, and what is taken meanwhile waits.
  await local.edit(resources([elsewhere]));
  const states = (): Promise<Record<string, unknown>[]> => statuses(local);
  await until("the edit to be in force", async () =>
    (await states()).every((one) => Number(one["generation"]) > 1),
  );
  await send(local, 20, 100);
  const queued = async (): Promise<number> =>
    (await states()).reduce((sum, one) => sum + Number(one["queued"]), 0);
  await until("it to be queued", async () => (await queued()) === 20);
  assert.equal(arrived(provider), 100);
  await local.edit(resources([elsewhere, here]));
  await until("what waited", () => arrived(provider) === 120, 120_000);
});
