import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { statuses } from "#test/kit/scrape.ts";
import { until } from "#test/kit/until.ts";

const burst = 100_000;
const tenants = [{ name: "acme" }, { name: "small" }];

test(`a tenant's burst of ${burst} to one site does not delay another tenant's single mail to it`, async (t) => {
  await using provider = await startProvider({ keepMessages: 100_000 });
  const rules = [
    {
      name: "shared",
      match: { domains: ["shared.example"] },
      limits: { connections: 5, messageRate: "200/s" },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 2 });
  const address = local.endpoints.smtp;
  const started = performance.now();
  const ids = await sendBurst({
    address,
    count: burst,
    connections: 6,
    recipient: (number) => `u${number}@shared.example`,
  });
  const seconds = (performance.now() - started) / 1000;
  assert.equal(new Set(ids).size, burst);
  const standing = (await statuses(local)).reduce((sum, { queued }) => sum + Number(queued), 0);
  assert.ok(standing > burst / 2, `only ${standing} queued: no backlog to be fair in`);
  const delays: number[] = [];
  for (let number = 0; number < 10; number++) {
    const before = Date.now();
    const to = `single${number}@shared.example`;
    await sendBurst({
      address,
      user: "small",
      from: "a@small.example",
      count: 1,
      connections: 1,
      recipient: () => to,
    });
    const [got] = await until("the single mail", () => {
      const found = provider.messages.list({ to, limit: 1 });
      return found.length > 0 && found;
    });
    delays.push((got?.at ?? Number.POSITIVE_INFINITY) - before);
  }
  t.diagnostic(
    `taken at ${Math.round(burst / seconds)}/s; ${standing} queued when the single mails came, delivered after ${delays.join(", ")} ms`,
  );
  assert.ok(Math.max(...delays) < 1000, `delivered after ${delays.join(", ")} ms`);
});

test("a dead and a slow site do not delay another one", async (t) => {
  await using good = await startProvider();
  await using slow = await startProvider({
    rules: { rules: [{ domains: ["slow.example"], mailboxes: [], tarpit: { delayMs: 5000 } }] },
  });
  const gone = await startProvider();
  await gone.close();
  const rule = (name: string, port: number): object => ({
    name,
    match: { domains: [`${name}.example`] },
    routes: [{ host: "127.0.0.1", port }],
  });
  const rules = [rule("slow", slow.port), rule("dead", gone.port), rule("good", good.port)] as Record<
    string,
    unknown
  >[];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 2 });
  const { smtp: address } = local.endpoints;
  for (const name of ["slow", "dead"])
    await sendBurst({ address, count: 500, recipient: (number) => `u${number}@${name}.example` });
  await until("slow site to be busy", () => slow.audit.total.open() > 0);
  const delays: number[] = [];
  for (let number = 0; number < 10; number++) {
    const before = Date.now();
    const to = `u${number}@good.example`;
    await sendBurst({ address, count: 1, connections: 1, recipient: () => to });
    const [got] = await until("the mail", () => {
      const found = good.messages.list({ to, limit: 1 });
      return found.length > 0 && found;
    });
    delays.push((got?.at ?? Number.POSITIVE_INFINITY) - before);
  }
  t.diagnostic(`beside 1,000 queued for a dead and a slow site: delivered after ${delays.join(", ")} ms`);
  assert.ok(Math.max(...delays) < 1000, `delivered after ${delays.join(", ")} ms`);
});
