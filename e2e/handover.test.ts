import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { assertNoneLost, missingOf } from "./kit/audit.ts";
import { type Load, startLoad } from "./kit/load.ts";
import { type Sink, startSink } from "./kit/sink.ts";

const perSecond = 30;
const count = 900;
const rounds = 5;

interface Queue {
  readonly entries: readonly { readonly pod: string }[];
}

/** The pod that owns what is queued, by its process id. */
async function ownerPid(local: LocalMode): Promise<{ pod: string; pid: number }> {
  return until("an owner of the queued mail", async () => {
    const { entries } = (await local.admin("/v1/queue?limit=1").catch(() => ({ entries: [] }))) as Queue;
    const pod = entries[0]?.pod;
    const pid = pod === undefined ? undefined : (await local.read()).pids.pods[pod];
    return pod !== undefined && pid !== undefined && { pod, pid };
  });
}

for (const signal of ["SIGTERM", "SIGKILL"] as const)
  test(`a site's limits hold while its owner gets ${signal} again and again`, async (t) => {
    await using provider = await startProvider({ keepMessages: 10_000 });
    const rules = [
      {
        name: "limited",
        match: { domains: ["limited.example"] },
        limits: { connections: 2, messageRate: `${perSecond}/s` },
        routes: [{ host: "127.0.0.1", port: provider.port }],
      },
    ];
    await using local = await startLocal({ resources: testResources({ rules }), pods: 3 });
    await sendBurst({
      address: local.endpoints.smtp,
      count,
      connections: 6,
      recipient: (number) => `u${number}@limited.example`,
    });
    const arrived = (): number => provider.audit.ids.unique();
    for (let round = 0; round < rounds; round++) {
      const before = arrived();
      await until("mail to flow", () => arrived() >= before + 2 * perSecond, 30_000);
      const { pod, pid } = await ownerPid(local);
      process.kill(pid, signal);
      await until(
        "another process",
        async () => {
          const now = (await local.read()).pids.pods[pod];
          return now !== undefined && now !== pid;
        },
        30_000,
      );
    }
    await until("all of it", () => arrived() === count, 120_000);
    const times = provider.messages
      .list({ limit: count })
      .map(({ at }) => at)
      .sort((a, b) => a - b);
    const gaps = times.map((at, index) => at - (times[index - 1] ?? at)).sort((a, b) => b - a);
    const seconds = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / 1000;
    const { total, ids } = provider.audit.stats();
    t.diagnostic(
      `${signal}: ${total.busiestSecond} in the busiest second, ${total.connections.most} connections at once, ` +
        `${((count - 1) / seconds / perSecond).toFixed(3)} of the rate, ${ids.repeated} repeated, longest gaps ${gaps.slice(0, rounds).join(", ")} ms`,
    );
    assert.ok(total.busiestSecond <= perSecond, `${total.busiestSecond} in one sliding second`);
    assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
    // After a SIGKILL what was open may come again, two connections a time.
    assert.ok(ids.repeated <= (signal === "SIGTERM" ? 0 : 2 * rounds), `${ids.repeated} repeated`);
  });

test("mail that waits for its final reply when its owner gets SIGTERM is not sent by the next owner, nor are its connections forgotten", async (t) => {
  const delayMs = 1500;
  await using provider = await startProvider({
    rules: { rules: [{ domains: ["slow.example"], mailboxes: [], tarpit: { delayMs } }] },
  });
  const rules = [
    {
      name: "slow",
      match: { domains: ["slow.example"] },
      limits: { connections: 2 },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  await using local = await startLocal({ resources: testResources({ rules }), pods: 2 });
  const mails = 12;
  await sendBurst({
    address: local.endpoints.smtp,
    count: mails,
    connections: 2,
    recipient: (number) => `u${number}@slow.example`,
  });
  for (const awaited of [2, 6]) {
    await until("some to arrive", () => provider.audit.ids.unique() >= awaited, 30_000);
    const { pid } = await ownerPid(local);
    process.kill(pid, "SIGTERM");
  }
  await until("all of it", () => provider.audit.ids.unique() === mails, 120_000);
  const { total, ids } = provider.audit.stats();
  t.diagnostic(`${total.connections.most} connections at once, ${ids.repeated} repeated`);
  assert.equal(ids.repeated, 0);
  assert.ok(total.connections.most <= 2, `${total.connections.most} connections at once`);
});

test("who has a mail by the final reply that its leaving owner waited for does not get it from the next one, who sends to the others", async (t) => {
  const isLater = (recipient: string): boolean => recipient.endsWith(".1");
  await using sink = await startSink({ ports: 1, defersRecipient: isLater });
  await using local = await startLocal({ resources: heldBy(sink), pods: 2 });
  const load = await held(local, sink);
  const { pid } = await ownerPid(local);
  process.kill(pid, "SIGTERM");
  await otherOwner(local, pid);
  sink.release();
  await until("all of it", () => missingOf(load, sink).length === 0, 60_000);
  const { accepted, doubled } = assertNoneLost(t, [load], sink);
  assert.equal(accepted, 40);
  assert.deepEqual(doubled, []);
});

test("who takes a shard from the dead knows what the owner before that one still has under way", async (t) => {
  await using sink = await startSink({ ports: 1 });
  await using local = await startLocal({ resources: heldBy(sink), pods: 3 });
  const load = await held(local, sink);
  const first = await ownerPid(local);
  process.kill(first.pid, "SIGTERM");
  const second = await otherOwner(local, first.pid);
  process.kill(second.pid, "SIGKILL");
  await otherOwner(local, second.pid);
  // What it were to begin would begin at once.
  await until("the third to know all that is queued", async () => {
    const { entries } = (await local.admin("/v1/queue?limit=100")) as Queue;
    return entries.length === 20;
  });
  assert.equal(sink.open(), heldConnections);
  sink.release();
  await until("all of it", () => missingOf(load, sink).length === 0, 60_000);
  const { doubled } = assertNoneLost(t, [load], sink);
  assert.deepEqual(doubled, []);
  const { most } = sink.meter(0).connections;
  assert.ok(most <= heldConnections, `${most} connections at once`);
});

const heldConnections = 5;

/** Resources by which mail for two domains goes to the sink in one transaction. */
function heldBy({ ports }: Sink): string {
  const rule = {
    name: "held",
    match: { domains: ["one.test", "two.test"] },
    limits: { connections: heldConnections },
    retry: { first: "1s", max: "1s" },
    routes: [{ host: "127.0.0.1", port: ports[0] }],
  };
  return testResources({ rules: [rule] });
}

/** 20 mails for two, all accepted, of which as many as the connections wait for their final reply. */
async function held(local: LocalMode, sink: Sink): Promise<Load> {
  sink.hold();
  const load = startLoad({
    address: () => local.endpoints.smtp,
    connections: 2,
    messages: 20,
    bytes: 2000,
    recipients: 2,
    domains: ["one.test", "two.test"],
    user: "acme",
    password: testPassword,
    from: "a@acme.example",
  });
  await load.done;
  await until("mail to wait for its reply", () => sink.open() === heldConnections);
  return load;
}

/** Another process; a killed pod comes back under its name. */
async function otherOwner(local: LocalMode, than: number): Promise<{ pod: string; pid: number }> {
  return until(
    "another owner",
    async () => {
      const now = await ownerPid(local);
      return now.pid !== than && now;
    },
    30_000,
  );
}
