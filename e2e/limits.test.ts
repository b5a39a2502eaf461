import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { createSlidingWindow } from "#operator/provider/meter.ts";
import { type Provider, startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { startLoad } from "./kit/load.ts";
import { startSink, type Visit } from "./kit/sink.ts";

test("a connection counts until its peer has said goodbye: never a third one, however slow that is, none used too often, none too soon", async (t) => {
  // A busy machine reads a connection late, and the next one sooner after it than it came.
  const opened = createSlidingWindow(900);
  let mostUsed = 0;
  const watch = {
    connected: () => void opened.add(performance.now()),
    disconnected: ({ messages }: Visit) => void (mostUsed = Math.max(mostUsed, messages)),
    message: () => {},
  };
  await using sink = await startSink({ ports: 1, goodbyeMs: 300, watch });
  const rules = [
    {
      name: "slow-goodbye",
      match: { domains: ["limited.test"] },
      limits: { connections: 2, messagesPerConnection: 5, connectionRate: "4/s" },
      routes: [{ host: "127.0.0.1", port: sink.ports[0] }],
    },
  ];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 2 });
  const load = startLoad({
    address: () => local.endpoints.smtp,
    connections: 4,
    messages: 60,
    bytes: 1000,
    domains: ["limited.test"],
    user: "acme",
    password: testPassword,
    from: "news@acme.example",
  });
  await load.done;
  await until("all of it", () => sink.arrivals.size === 60, 60_000);
  const { connections } = sink.meter(0);
  t.diagnostic(
    `${connections.most} connections at once, ${connections.total} in all, ${opened.busiest()} in nine tenths of a second, ${mostUsed} messages on one`,
  );
  assert.ok(connections.most <= 2, `${connections.most} connections at once`);
  assert.ok(connections.total >= 12, "each was used for five");
  assert.ok(mostUsed > 1 && mostUsed <= 5, `${mostUsed} messages on one connection`);
  assert.ok(opened.busiest() <= 4, `${opened.busiest()} new connections in nine tenths of a second`);
});

const count = 300;
const perSecond = 20;

for (const pods of [1, 2, 4])
  test(`a site limited to 2 connections and 20 messages/s sees at most that, and most of it, from ${pods} pods`, async (t) => {
    await using provider = await startProvider();
    const rules = [
      {
        name: "limited",
        match: { domains: ["limited.example"] },
        limits: { connections: 2, messageRate: `${perSecond}/s` },
        routes: [{ host: "127.0.0.1", port: provider.port }],
      },
    ];
    await using local = await startLocal({ resources: testResources({ rules }), pods });
    await withinLimits(t, { provider, local, pods });
  });

interface World {
  readonly provider: Provider;
  readonly local: LocalMode;
  readonly pods: number;
}

async function withinLimits(t: TestContext, { provider, local, pods }: World): Promise<void> {
  const ids = await sendBurst({
    address: local.endpoints.smtp,
    count,
    // Several connections, so that the kernel spreads them over the pods.
    connections: pods * 2,
    recipient: (number) => `u${number}@limited.example`,
  });
  assert.equal(new Set(ids).size, count);
  await until("all of it", () => provider.audit.ids.unique() === count, 60_000);
  const { total, ids: counted } = provider.audit.stats();
  const times = provider.messages
    .list({ limit: count })
    .map(({ at }) => at)
    .sort((one, other) => one - other);
  const rateOf = (first: number, last: number): number =>
    ((last - first) * 1000) / ((times[last] ?? 0) - (times[first] ?? 0));
  const rate = rateOf(0, count - 1);
  // A busy machine stands still now and then.
  const steady = Math.max(...[0, 50, 100, 150, 200].map((first) => rateOf(first, first + 99)));
  t.diagnostic(
    `${pods} pods: ${total.busiestSecond} in the busiest second, ${total.connections.most} connections at once, ${rate.toFixed(2)} messages/s, ${steady.toFixed(2)} in the best five seconds`,
  );
  assert.ok(total.busiestSecond <= perSecond, `${total.busiestSecond} in one sliding second`);
  assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
  assert.ok(rate >= perSecond * 0.85, `only ${rate.toFixed(2)} messages/s of ${perSecond} are used`);
  // Under-use is allowed, and below 5 % while nothing changes.
  assert.ok(steady >= perSecond * 0.95, `${steady.toFixed(2)} messages/s at best`);
  assert.equal(counted.repeated, 0);
}
