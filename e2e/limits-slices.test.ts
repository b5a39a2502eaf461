/** A hot site in slices: several pods serve it at once, and together they keep its limits, also while the number of slices is edited. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";

const count = 900;
const perSecond = 40;
const connections = 4;

test("a site in four slices is served by several pods within its limits, and by two or one of them after an edit; suspended as one", async (t) => {
  await using provider = await startProvider();
  const resources = (slices?: number): string =>
    testResources({
      rules: [
        {
          name: "hot",
          match: { domains: ["hot.example"] },
          limits: { connections, messageRate: `${perSecond}/s` },
          routes: [{ host: "127.0.0.1", port: provider.port }],
          ...(slices === undefined ? {} : { slices }),
        },
      ],
    });
  await using local = await startLocal({ resources: resources(4), pods: 4 });
  const arrived = (): number => provider.audit.ids.unique();
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    connections: 8,
    recipient: (number) => `u${number}@hot.example`,
  });

  await until("a third of it", () => arrived() >= count / 3, 60_000);
  const samples = await scrape(local);
  const attempts = samples.filter(({ name, value }) => name === "mailboat_attempts_total" && value > 0);
  const site = `127.0.0.1:${provider.port}`;
  t.diagnostic(
    `${attempts.length} pods have sent ${sumOf(samples, "mailboat_attempts_total")} of the first third`,
  );
  assert.ok(attempts.length >= 2, `${attempts.length} pods have sent`);

  const suspended = (await local.admin("/v1/queue/suspend", { site })) as { affected: number };
  assert.ok(suspended.affected > 0, "the slices are parts of the site");
  const held = arrived();
  await until("what was under way to arrive", async () => {
    const { total } = provider.audit.stats();
    return total.connections.open === 0 && arrived() >= held;
  });
  const still = arrived();
  await local.admin("/v1/queue/resume", { site });

  await local.edit(resources(2));
  await until("two thirds of it", () => arrived() >= (2 * count) / 3, 60_000);
  await local.edit(resources());
  await until("all of it", () => arrived() === count, 60_000);

  const { total, ids } = provider.audit.stats();
  const times = provider.messages
    .list({ limit: count })
    .map(({ at }) => at)
    .sort((one, other) => one - other);
  const inFive = Math.max(
    ...times.map((from) => times.filter((at) => at >= from && at < from + 5000).length),
  );
  t.diagnostic(
    `${total.busiestSecond} in the busiest second, ${total.connections.most} connections at once, ${inFive} in the best five seconds; ${still} when it was suspended`,
  );
  assert.ok(total.busiestSecond <= perSecond, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= connections, `${total.connections.most} connections at once`);
  assert.ok(inFive >= 5 * perSecond * 0.9, `${inFive} in the best five seconds`);
  assert.equal(ids.repeated, 0);
});
