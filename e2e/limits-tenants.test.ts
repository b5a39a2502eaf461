/** Limits of each tenant and each sender domain at a site, as its provider counts them: over pods, across the death of the owner. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { createSlidingWindow } from "#operator/provider/meter.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";

const perTenant = 6;
const perDomain = 4;
const each = 36;
/** `split` has two sender domains, which together could use more than a tenant may. */
const senders = ["one.example", "two.example", "split.example", "split.test"] as const;

interface Queue {
  readonly entries: readonly { readonly id: string; readonly pod: string }[];
}

async function queueOf(local: LocalMode): Promise<Queue["entries"]> {
  const { entries } = (await local.admin("/v1/queue?limit=500").catch(() => ({ entries: [] }))) as Queue;
  return entries;
}

test("two pods and the death of a site's owner: each tenant and each sender domain keeps its rate there, and uses it", async (t) => {
  await using provider = await startProvider({ keepMessages: 1000 });
  const rules = [
    {
      name: "shared-out",
      match: { domains: ["limited.test"] },
      limits: {
        connections: 20,
        perTenant: { connections: 1, messageRate: `${perTenant}/s` },
        perSenderDomain: { messageRate: `${perDomain}/s` },
      },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  const split = { domains: [{ name: "split.example" }, { name: "split.test" }] };
  const tenants = [{ name: "one" }, { name: "two" }, { name: "split", spec: split }];
  await using local = await startLocal({ resources: testResources({ rules, tenants }), pods: 2 });
  await Promise.all(
    senders.map((domain) =>
      sendBurst({
        address: local.endpoints.smtp,
        user: domain.slice(0, domain.indexOf(".")),
        from: `a@${domain}`,
        count: each,
        connections: 2,
        recipient: (number) => `${domain}-${number}@limited.test`,
      }),
    ),
  );
  const arrived = (): number => provider.audit.ids.unique();
  await until("mail to flow", () => arrived() >= each / 2, 30_000);
  // The one that waits longest; between two turns nothing holds it back for a moment.
  const last = await until("a limit that is named", async () => {
    const entry = (await queueOf(local)).at(-1);
    if (entry === undefined) return false;
    const { binding } = (await local.admin(`/v1/messages/${entry.id}`)) as { binding: string | null };
    return /^per(Tenant|SenderDomain)\.(messageRate|connections)$/.test(binding ?? "") && entry;
  });
  const { pods } = (await local.read()).pids;
  process.kill(pods[last.pod] ?? assert.fail(), "SIGKILL");
  await until("all of it", () => arrived() === each * senders.length, 60_000);
  const messages = provider.messages.list({ limit: 1000 });
  const times = (fits: (domain: string) => boolean): number[] =>
    messages
      .flatMap(({ at, from }) => (fits(from.slice(from.indexOf("@") + 1)) ? [at] : []))
      .sort((one, other) => one - other);
  const busiest = (all: readonly number[]): number => {
    const second = createSlidingWindow(1000);
    for (const at of all) second.add(at);
    return second.busiest();
  };
  const check = (who: string, rate: number, fits: (domain: string) => boolean): void => {
    const all = times(fits);
    const seconds = ((all.at(-1) ?? 0) - (all[0] ?? 0)) / 1000;
    t.diagnostic(
      `${who}: ${busiest(all)} of ${rate} in the busiest second, ${all.length} in ${seconds.toFixed(1)} s`,
    );
    assert.ok(busiest(all) <= rate, `${busiest(all)} of ${who} in a second`);
    // The take-over takes two seconds, and one interval.
    assert.ok(seconds <= all.length / rate / 0.9 + 4, `${who} took ${seconds} s`);
  };
  for (const domain of ["one.example", "two.example"]) check(domain, perDomain, (name) => name === domain);
  for (const domain of ["split.example", "split.test"])
    assert.ok(busiest(times((name) => name === domain)) <= perDomain, `${domain} in a second`);
  check("split", perTenant, (name) => name.startsWith("split."));
  const { connections } = provider.audit.stats().total;
  assert.ok(connections.most <= 3, `${connections.most} connections for three tenants with one each`);
});

test("an edit holds for what is queued already: a limit per sender domain comes, and goes again", async (t) => {
  await using provider = await startProvider({ keepMessages: 1000 });
  const resources = (limits: object): string =>
    testResources({
      rules: [
        {
          name: "edited",
          match: { domains: ["limited.test"] },
          limits: { connections: 5, messageRate: "20/s", ...limits },
          routes: [{ host: "127.0.0.1", port: provider.port }],
        },
      ],
    });
  await using local = await startLocal({ resources: resources({}), pods: 1 });
  await sendBurst({
    address: local.endpoints.smtp,
    count: 150,
    recipient: (number) => `u${number}@limited.test`,
  });
  const arrived = (): number => provider.audit.ids.unique();
  const since = (time: number, until: number): number =>
    provider.messages.list({ limit: 1000 }).filter(({ at }) => at >= time && at < until).length;
  await until("mail to flow", () => arrived() >= 20);
  await local.edit(resources({ perSenderDomain: { messageRate: "2/s" } }));
  const bindingNow = async (): Promise<string | null> => {
    const [first] = await queueOf(local);
    return ((await local.admin(`/v1/messages/${first?.id}`)) as { binding: string | null }).binding;
  };
  await until("the limit", async () => (await bindingNow()) === "perSenderDomain.messageRate", 10_000);
  const heldAt = Date.now();
  const before = arrived();
  await until("three seconds of it", () => Date.now() >= heldAt + 3000);
  const inThree = since(heldAt, heldAt + 3000);
  t.diagnostic(`${inThree} in three seconds at 2/s`);
  assert.ok(inThree <= 6 && inThree >= 4, `${inThree} in three seconds`);
  assert.ok(before < 100, `${before} had left before: the edit came too late to be seen`);
  const liftedAt = performance.now();
  await local.edit(resources({}));
  await until("all of it", () => arrived() === 150, 30_000);
  const seconds = (performance.now() - liftedAt) / 1000;
  t.diagnostic(`the rest, ${150 - before - inThree}, within ${seconds.toFixed(1)} s of the edit`);
  assert.equal(provider.audit.stats().ids.repeated, 0);
  assert.ok(seconds <= (150 - before - inThree) / 20 / 0.9 + 4, `${seconds} s`);
});
