import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { openTalk, plainLogin } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { ruleTo } from "#test/kit/world.ts";

const limit = 200;

/** Offers `count` messages on one connection; answers the final replies' codes. */
async function offer(local: LocalMode, count: number): Promise<string[]> {
  const codes: string[] = [];
  await using talk = await openTalk(local.endpoints.smtp);
  await talk.hear();
  await talk.say("EHLO client.example");
  assert.match(await talk.say(plainLogin("acme", testPassword)), /^235/);
  for (let number = 0; number < count; number++) {
    await talk.say("MAIL FROM:<a@acme.example>");
    await talk.say(`RCPT TO:<u${number}@${number % 2 === 0 ? "one" : "two"}.example>`);
    await talk.say("DATA");
    const reply = await talk.say("From: a@acme.example\r\nSubject: s\r\n\r\nt\r\n.");
    codes.push(reply.slice(0, 9));
  }
  return codes;
}

const taken = (codes: readonly string[]): number => codes.filter((code) => code === "250 2.0.0").length;

test(`a limit of ${limit} queued messages holds over three pods and a restart of each, is used, and lets mail in again`, async (t) => {
  await using provider = await startProvider({});
  await using other = await startProvider({});
  const rules = [
    { ...ruleTo("one", provider.port), match: { domains: ["one.example"] } },
    { ...ruleTo("two", other.port), match: { domains: ["two.example"] } },
  ];
  const tenants = [{ name: "acme", limits: { queuedMessages: limit } }];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 3 });
  await local.admin("/v1/queue/suspend", { all: true });
  // A connection lands on one pod: many, so that each has some.
  const offerAll = async (count: number): Promise<string[]> =>
    (await Promise.all(Array.from({ length: 30 }, () => offer(local, count)))).flat();
  const startedAt = performance.now();
  const first = await offerAll(20);
  t.diagnostic(`${taken(first)} of ${first.length} taken in ${Math.round(performance.now() - startedAt)} ms`);
  assert.deepEqual([...new Set(first)].sort(), ["250 2.0.0", "452 4.3.1"]);
  assert.ok(taken(first) <= limit, `${taken(first)} taken`);
  assert.ok(taken(first) >= limit * 0.8, `${taken(first)} taken`);
  for (const pod of [0, 1, 2]) await local.kill(pod);
  const all = [...first, ...(await offerAll(4))];
  t.diagnostic(`${taken(all)} in all after a kill of each pod`);
  assert.ok(taken(all) <= limit, `${taken(all)} taken`);
  await local.admin("/v1/queue/resume", { all: true });
  const arrived = (): number =>
    provider.messages.list({ limit: 1000 }).length + other.messages.list({ limit: 1000 }).length;
  await until("what was taken to arrive", () => arrived() >= taken(all), 30_000);
  await until("mail to be taken again", async () => taken(await offer(local, 10)) === 10, 30_000);
});
