import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { podStatuses } from "./kit/pod-status.ts";

const tenants = [{ name: "acme" }, { name: "small" }];

interface Applied {
  readonly affected: number;
  readonly suspensions: number;
  readonly pods: readonly string[];
  readonly pending: readonly string[];
}
interface Act {
  readonly affected: number;
  readonly isDone: boolean;
  readonly job: string;
}
interface Queue {
  readonly entries: readonly { readonly state: string; readonly tenant: string; readonly id: string }[];
}

function resourcesOf(port: number): string {
  const route = { routes: [{ host: "127.0.0.1", port }] };
  return testResources({
    tenants,
    rules: [
      { name: "one", match: { domains: ["one.example"] }, ...route },
      { name: "two", match: { domains: ["two.example"] }, ...route },
    ],
  });
}

const send = (local: LocalMode, user: string, domain: string, count = 1): Promise<readonly string[]> =>
  sendBurst({
    address: local.endpoints.smtp,
    user,
    from: `a@${user}.example`,
    count,
    connections: Math.min(count, 4),
    recipient: (number) => `u${number}@${domain}`,
  });

const act = (local: LocalMode, action: string, body: object): Promise<unknown> =>
  local.admin(`/v1/queue/${action}`, body);

test("a suspended tenant's mail waits at every pod, through kills and restarts, and leaves when it is resumed", async () => {
  await using provider = await startProvider({});
  const got = (to: string): number => provider.messages.list({ to, limit: 100 }).length;
  await using local = await startLocal({ resources: resourcesOf(provider.port), pods: 2 });
  const suspended = (await act(local, "suspend", { tenant: "acme" })) as Applied;
  assert.deepEqual([suspended.pods.length, suspended.pending], [2, []]);
  const [id = ""] = await send(local, "acme", "one.example", 8);
  await send(local, "small", "one.example");
  await until(
    "the other tenant's mail",
    () => provider.audit.stats().ids !== undefined && got("u0@one.example") === 1,
  );
  const waits = async (): Promise<boolean> => {
    const { entries } = (await local.admin("/v1/queue?tenant=mail/acme")) as Queue;
    return entries.length === 8 && entries.every(({ state }) => state === "suspended");
  };
  await until("all eight to wait", waits);
  const why = (await local.admin(`/v1/messages/${id}`)) as { binding: string };
  assert.match(why.binding, /a suspension of tenant mail\/acme, until resumed/);
  for (const pod of [0, 1]) await local.kill(pod);
  await until("all eight to wait after both pods were killed", () => waits().catch(() => false), 60_000);
  assert.equal(got("u0@one.example"), 1);
  const resumed = (await act(local, "resume", { tenant: "acme" })) as Applied;
  assert.equal(resumed.suspensions, 1);
  await until("all to arrive", () => got("u0@one.example") === 2 && got("u7@one.example") === 1);
});

test("a suspended site waits until its time is over, and bounce empties what waits", async (t) => {
  await using provider = await startProvider({});
  const received = (): number => provider.messages.list({ limit: 10_000 }).length;
  await using local = await startLocal({ resources: resourcesOf(provider.port), pods: 2 });
  await act(local, "suspend", { site: `127.0.0.1:${provider.port}`, forSeconds: 2 });
  const sentAt = performance.now();
  await send(local, "acme", "one.example");
  await until("it to arrive when the time is over", () => received() === 1);
  const waited = performance.now() - sentAt;
  assert.ok(waited > 1000, `it left after ${waited} ms`);
  await act(local, "suspend", { all: true });
  const count = 3000;
  await send(local, "acme", "two.example", count);
  const started = performance.now();
  let bounced = (await act(local, "bounce", { tenant: "mail/acme" })) as Act;
  await until(
    "the act to end",
    async () => {
      if (!bounced.isDone) bounced = (await local.admin(`/v1/acts/${bounced.job}`)) as Act;
      return bounced.isDone;
    },
    60_000,
  );
  t.diagnostic(`${count} bounced with reports in ${Math.round(performance.now() - started)} ms`);
  assert.equal(bounced.affected, count);
  assert.equal(received(), 1);
});

test("an act on a domain is about its recipients alone: the others of the message stay, also through a kill, and get it once", async () => {
  await using provider = await startProvider({});
  const rules = [
    { name: "all", match: { domains: ["*"] }, routes: [{ host: "127.0.0.1", port: provider.port }] },
  ];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 2 });
  await act(local, "suspend", { tenant: "acme" });
  const response = await fetch(`http://${local.endpoints.http}/v1/messages`, {
    method: "POST",
    headers: {
      Authorization: `Basic ${Buffer.from(`acme:${testPassword}`).toString("base64")}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({
      from: "a@acme.example",
      to: ["u@one.example", "v@two.example", "w@two.example"],
      subject: "to three",
      text: "One of them is given up.",
    }),
  });
  assert.equal(response.status, 202);
  const { id } = (await response.json()) as { id: string };
  const queued = async (): Promise<number> =>
    ((await local.admin("/v1/queue?domain=one.example")) as Queue).entries.length;
  await until("its owner to have it", async () => (await queued()) === 1);
  assert.equal(((await act(local, "bounce", { domain: "one.example" })) as Act).affected, 1);
  assert.equal(((await act(local, "bounce", { domain: "one.example" })) as Act).affected, 0);
  const bounced = async (): Promise<string[]> => {
    const why = (await local.admin(`/v1/messages/${id}`)) as { events: { type: string; to: string[] }[] };
    return why.events.flatMap(({ type, to }) => (type === "bounced" ? to : []));
  };
  await until("it to be told", async () => (await bounced()).join() === "u@one.example");
  for (const pod of [0, 1]) await local.kill(pod);
  await act(local, "resume", { tenant: "acme" });
  const got = (to: string): number => provider.messages.list({ to, limit: 100 }).length;
  await until("the others to have it", () => got("v@two.example") === 1 && got("w@two.example") === 1);
  assert.equal(got("u@one.example"), 0);
  assert.deepEqual(await bounced(), ["u@one.example"]);
  const report = (): number => got("a@acme.example");
  await until("its sender to be told", () => report() === 1);
});

test("a suspended message, and mail to a suspended domain, wait beside mail that goes, through a kill, and go when resumed", async () => {
  await using provider = await startProvider({});
  const got = (to: string): number => provider.messages.list({ to, limit: 100 }).length;
  const rules = [
    { name: "all", match: { domains: ["*"] }, routes: [{ host: "127.0.0.1", port: provider.port }] },
  ];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 2 });
  await act(local, "suspend", { domain: "ONE.example" });
  await send(local, "acme", "one.example", 3);
  await send(local, "acme", "two.example", 3);
  await until("the others to arrive", () => [0, 1, 2].every((number) => got(`u${number}@two.example`) === 1));
  const waiting = async (): Promise<string[]> => {
    const { entries } = (await local.admin("/v1/queue")) as {
      entries: { id: string; stopped?: string; to: string[] }[];
    };
    return entries.map(({ to, stopped }) => `${to.join()} ${stopped}`).toSorted();
  };
  const three = [0, 1, 2].map((number) => `u${number}@one.example suspended`);
  await until("the three to wait", async () => (await waiting()).join() === three.join());
  for (const pod of [0, 1]) await local.kill(pod);
  await until(
    "them to wait again",
    async () => (await waiting().catch(() => [])).join() === three.join(),
    60_000,
  );
  await until("both pods to own their part", async () => {
    const owned = (await podStatuses(local)).map(({ shards }) => shards.length);
    return owned.length === 2 && owned.every((count) => count > 0);
  });
  await until("them to wait there", async () => (await waiting()).join() === three.join());
  // One of them is suspended by itself as well, and stays so.
  const { entries } = (await local.admin("/v1/queue?domain=one.example")) as {
    entries: { id: string; to: string[] }[];
  };
  const id = entries.find(({ to }) => to[0] === "u1@one.example")?.id ?? "";
  assert.equal(((await act(local, "suspend", { id })) as Applied).affected, 1);
  assert.equal(((await act(local, "resume", { domain: "one.example" })) as Applied).suspensions, 1);
  await until("two to arrive", () => got("u0@one.example") === 1 && got("u2@one.example") === 1);
  const why = (await local.admin(`/v1/messages/${id}`)) as { binding: string };
  // As long as it may stay: nobody resumes what is gone.
  assert.match(why.binding, new RegExp(`^a suspension of message ${id}, until \\d{4}-\\d\\d-\\d\\dT`));
  assert.equal(got("u1@one.example"), 0);
  await act(local, "resume", { all: true });
  await until("the third", () => got("u1@one.example") === 1);
  assert.equal(provider.messages.list({ limit: 100 }).length, 6, "each once");
  // For a while only.
  await act(local, "suspend", { domain: "one.example", forSeconds: 2 });
  const sentAt = performance.now();
  await send(local, "acme", "one.example");
  await until("it to arrive when the time is over", () => got("u0@one.example") === 2);
  assert.ok(performance.now() - sentAt > 1000);
});

test("suspended messages take nothing of what a site's rate leaves to others", async (t) => {
  await using provider = await startProvider({});
  const route = { routes: [{ host: "127.0.0.1", port: provider.port }] };
  const rules = [{ name: "slow", match: { domains: ["*"] }, limits: { messageRate: "2/s" }, ...route }];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 1 });
  await act(local, "suspend", { domain: "one.example" });
  await send(local, "acme", "one.example", 60);
  const sentAt = performance.now();
  await send(local, "acme", "two.example", 2);
  await until("what is not suspended to arrive", () => provider.messages.list({ limit: 9 }).length === 2);
  const took = performance.now() - sentAt;
  t.diagnostic(`after ${Math.round(took)} ms`);
  assert.ok(took < 10_000, `behind 60 suspended ones it took ${took} ms`);
});
