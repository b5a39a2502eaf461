import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import type { ProviderRules } from "#operator/provider/rules.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { scrape, statuses } from "#test/kit/scrape.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { explain, ruleTo, settled, submit } from "#test/kit/world.ts";

/** Runs on one generation, by /statusz and by the metric. */
async function generation(local: LocalMode): Promise<number | undefined> {
  const all = new Set((await statuses(local)).map((status) => Number(status["generation"])));
  for (const { name, value } of await scrape(local))
    if (name === "mailboat_config_generation") all.add(value);
  const [only] = all;
  return all.size === 1 ? only : undefined;
}

const laterOnce: ProviderRules = {
  rules: [
    {
      domains: ["later.example"],
      mailboxes: [],
      defer: { times: 1, code: 451, text: "4.3.0 later", stage: "rcpt" },
    },
  ],
};

test("an edit of a rate is live in all pods within seconds, and a bad one leaves the last good in force", async (t) => {
  await using provider = await startProvider();
  const resources = (messageRate: string) =>
    testResources({
      rules: [ruleTo("paced", provider.port, { limits: { connections: 2, messageRate } })],
    });
  await using local = await startLocal({ resources: resources("2/s"), pods: 3 });
  const first = await generation(local);
  assert.ok(first !== undefined);
  await sendBurst({
    address: local.endpoints.smtp,
    count: 120,
    recipient: (number) => `u${number}@paced.example`,
  });
  await until("the first five", () => provider.audit.ids.unique() >= 5);
  assert.ok(provider.audit.total.read().busiestSecond <= 2);
  const edited = performance.now();
  await local.edit(resources("40/s"));
  await until("the next generation in all pods", async () => (await generation(local)) === first + 1);
  const live = performance.now() - edited;
  assert.ok(live < 5000, `live after ${live} ms`);
  await until("all of it at the new rate", () => provider.audit.ids.unique() === 120, 10_000);
  t.diagnostic(
    `live in 3 pods after ${Math.round(live)} ms; all sent ${Math.round(performance.now() - edited)} ms after the edit`,
  );

  // Several ways to be wrong; each is named by file, path, expected and got.
  for (const [bad, said] of [
    [
      resources("many"),
      /resources\.yaml.*TrafficShape mail\/test.*spec\.rules\[0\]\.limits\.messageRate: expected .*, got "many"/,
    ],
    [`${resources("3/s")}\n---\nkind: [`, /resources\.yaml.*expected .*, got /],
    [
      resources("3/s").replace('"Tenant"', '"Tenent"'),
      /resources\.yaml.*kind: expected SendingPool.*, got "Tenent"/,
    ],
  ] as const) {
    const before = local.output.length;
    await local.edit(bad);
    const line = await until(said.source, () => local.output.slice(before).find((text) => said.test(text)));
    await until("the verdict", () =>
      local.output.slice(before).some((text) => text.includes("the last good configuration stays in force")),
    );
    t.diagnostic(line.slice(line.indexOf("resources.yaml")));
  }
  assert.equal(await generation(local), first + 1);
  const id = await submit(local, { to: "still@paced.example" });
  await settled(local, id, { types: ["received", "delivered"] });
  await local.edit(resources("50/s"));
  await until("a good edit to be taken again", async () => (await generation(local)) === first + 2);
});

test("nothing goes in clear over a connection from before an edit that asks for TLS", async () => {
  await using provider = await startProvider();
  const resources = (mode: string) =>
    testResources({ rules: [ruleTo("secret", provider.port, { tls: { mode } })] });
  await using local = await startLocal({ resources: resources("None"), pods: 1 });
  const before = (await generation(local)) ?? 0;
  await settled(local, await submit(local, { to: "one@secret.example" }), {
    types: ["received", "delivered"],
  });
  const connections = () => provider.audit.stats().total.connections.open;
  await local.edit(resources("Required"));
  await until("the edit", async () => (await generation(local)) === before + 1);
  assert.equal(connections(), 1, "open still");
  const id = await submit(local, { to: "two@secret.example" });
  const { events } = await until("an attempt", async () => {
    const told = await explain(local, id);
    return told.events.length > 1 && told;
  });
  assert.deepEqual([events[1]?.type, events[1]?.class], ["attempted", "tls"]);
  assert.equal(provider.audit.ids.unique(), 1);
});

test("mail of a tenant whose file is removed still goes, and nobody logs in as it any more", async () => {
  await using provider = await startProvider({ rules: laterOnce });
  const resources = (names: readonly string[]) =>
    testResources({
      tenants: names.map((name) => ({ name })),
      rules: [
        ruleTo("later", provider.port, { retry: { first: "8s", max: "8s" } }),
        ruleTo("x", provider.port),
      ],
    });
  await using local = await startLocal({ resources: resources(["acme", "leaver"]), pods: 2 });
  const id = await submit(local, { to: "a@later.example" }, "leaver");
  await until("a deferral", async () => (await explain(local, id)).entries[0]?.state === "waiting");
  const before = (await generation(local)) ?? 0;
  await local.edit(resources(["acme"]));
  await until("the edit in all pods", async () => (await generation(local)) === before + 1);
  await assert.rejects(submit(local, { to: "b@x.example" }, "leaver"), /535/);
  assert.equal((await explain(local, id)).entries.length, 1, "still queued");
  await settled(local, id, { types: ["received", "deferred", "delivered"] });
  // Its domain is free for whoever names it next.
  await local.edit(resources(["acme"]).replace('"acme.example"', '"leaver.example"'));
  await until("the next edit", async () => (await generation(local)) === before + 2);
  const other = await submit(local, { from: "a@leaver.example", to: "c@x.example" });
  await settled(local, other, { types: ["received", "delivered"] });
});

test("mail of a tenant that is moved to another pool still goes from the first one, and new mail from the second", async () => {
  await using provider = await startProvider({ rules: laterOnce });
  const resources = (pool: string): string => {
    const documents = testResources({
      tenants: [{ name: "acme", spec: { poolRef: { name: pool } } }],
      rules: [
        ruleTo("later", provider.port, { retry: { first: "8s", max: "8s" } }),
        ruleTo("x", provider.port),
      ],
    });
    const [first = ""] = documents.split("\n---\n");
    return `${documents}\n---\n${first.replace('"name":"shared"', '"name":"spare"')}`;
  };
  await using local = await startLocal({ resources: resources("shared"), pods: 1 });
  const id = await submit(local, { to: "a@later.example" });
  await until("a deferral", async () => (await explain(local, id)).entries[0]?.state === "waiting");
  const before = (await generation(local)) ?? 0;
  await local.edit(resources("spare"));
  await until("the edit in the first pool", async () => (await generation(local)) === before + 1);
  await assert.rejects(submit(local, { to: "b@x.example" }), /535/);
  const [, endpoints] = (await local.read()).pools;
  assert.equal(endpoints?.pool, "mail/spare");
  const spare: LocalMode = { ...local, endpoints };
  await until("the edit in the second pool", async () => (await generation(spare)) === before + 1);
  await submit(spare, { to: "c@x.example" });
  await settled(local, id, { types: ["received", "deferred", "delivered"] });
  await until("both", () => provider.audit.ids.unique() === 2);
});

test("mail of a tenant whose file was removed while nothing ran goes after the start", async () => {
  await using provider = await startProvider();
  const resources = (names: readonly string[], port: number) =>
    testResources({ tenants: names.map((name) => ({ name })), rules: [ruleTo("x", port)] });
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-drain-"));
  try {
    let id = "";
    {
      // Nothing listens on port 9 here: the mail waits.
      await using local = await startLocal({
        resources: resources(["acme", "leaver"], 9),
        pods: 1,
        state: folder,
      });
      id = await submit(local, { to: "a@x.example" }, "leaver");
    }
    await using local = await startLocal({
      resources: resources(["acme"], provider.port),
      pods: 1,
      state: folder,
    });
    await settled(local, id, { types: ["received", "delivered"] });
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});
