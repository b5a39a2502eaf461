/** A mail that really ends its pod each time it is handled: set aside at the third death, told, let go when the fault is mended; the rest flows. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { hashToken } from "#crds/values/hash.ts";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal, type StartLocalOptions } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { scrape, sumOf } from "#test/kit/scrape.ts";
import { openTalk, plainLogin, sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { deadlyEnv } from "./kit/deadly.ts";
import { podStatuses } from "./kit/pod-status.ts";

const mark = "X-Deadly: yes";
const mails = 300;
const deadly = 100;
/** Of the site: what may be under way beside it at each death. */
const connections = 8;
const shards = 8;

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly reason?: string;
}

async function parkedIn(local: LocalMode): Promise<Listed[]> {
  const { entries } = (await local.admin("/v1/queue").catch(() => ({ entries: [] }))) as {
    entries: Listed[];
  };
  return entries.filter(({ state }) => state === "parked");
}

async function areBack(local: LocalMode, pods: number): Promise<boolean> {
  const statuses = await podStatuses(local);
  const owned = new Set(statuses.flatMap((one) => one.shards));
  return (
    statuses.length === pods &&
    statuses.every(({ members }) => members.length === pods) &&
    owned.size === shards
  );
}

async function deathsIn(t: TestContext): Promise<{ file: string; count(): Promise<number> }> {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-deadly-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "deaths");
  await writeFile(file, "");
  return { file, count: async () => (await readFile(file, "utf8")).split("\n").length - 1 };
}

const untilParked = (local: LocalMode, ms: number): Promise<Listed[]> =>
  until(
    "it to be parked",
    async () => {
      const found = await parkedIn(local);
      return found.length > 0 && found;
    },
    ms,
  );

let last: Promise<unknown> = Promise.resolve();

/** One after another: two that look for free ports at the same moment may find the same one. */
function startNext(options: StartLocalOptions): Promise<LocalMode> {
  const started = last.then(() => startLocal(options));
  last = started.catch(() => {});
  return started;
}

/** What takes time is pods that start again and again, one at a time each. */
describe("a deadly mail", { concurrency: true }, () => {
  for (const pods of [1, 3])
    test(`of ${pods} pods the third that a mail ends is the last; all other mail arrives`, async (t) => {
      // Neighbours take their time, so that some are under way at each death.
      await using provider = await startProvider({
        keepMessages: 2 * mails,
        rules: { rules: [{ domains: ["fine.example"], mailboxes: [], tarpit: { delayMs: 50 } }] },
      });
      const { file: deaths, count: died } = await deathsIn(t);
      const rules = [
        {
          name: "fine",
          match: { domains: ["fine.example"] },
          limits: { connections },
          routes: [{ host: "127.0.0.1", port: provider.port }],
        },
      ];
      await using local = await startNext({
        resources: testResources({ rules }),
        pods,
        env: deadlyEnv({ port: provider.port, mark, deaths }),
      });
      // All of it is queued before the first leaves, also where the one that dies is the only one.
      await local.admin("/v1/queue/suspend", { tenant: "mail/acme" });
      await sendBurst({
        address: local.endpoints.smtp,
        count: mails,
        connections: 4,
        recipient: (number) => `u${number}@fine.example`,
        content: (number) => `${number === deadly ? `${mark}\r\n` : ""}Subject: ${number}\r\n\r\nhello\r\n`,
      });
      await local.admin("/v1/queue/resume", { tenant: "mail/acme" });
      const startedAt = performance.now();
      const parked = await untilParked(local, 90_000);
      t.diagnostic(
        `parked after ${await died()} deaths, ${Math.round(performance.now() - startedAt)} ms: ${parked[0]?.reason}`,
      );
      await until("the rest", () => provider.audit.ids.unique() === mails - 1, 90_000);
      t.diagnostic(`the rest delivered after ${Math.round(performance.now() - startedAt)} ms`);
      await until("all pods to be back, with their shards", () => areBack(local, pods), 30_000);
      assert.equal(await died(), 3);
      assert.equal((await parkedIn(local)).length, 1, "nothing else was taken for it");
      assert.match(parked[0]?.reason ?? "", /died/);
      assert.equal(sumOf(await scrape(local), "mailboat_parked_messages"), 1);
      const { repeated } = provider.audit.stats().ids;
      assert.ok(repeated <= 3 * connections, `${repeated} repeated`);
      const arrived = (): boolean =>
        provider.messages.list({ to: `u${deadly}@fine.example`, limit: 1 }).length > 0;
      assert.equal(arrived(), false);
      // The fault is mended; nothing happens to it until somebody says so.
      await rm(deaths);
      await local.admin("/v1/queue/retry", { id: parked[0]?.id });
      await until("it, once told", arrived, 20_000);
      assert.deepEqual(await parkedIn(local), []);
    });

  test("a mail that has its turn only after the time in which all is suspected is the end of three pods, too", async (t) => {
    await using provider = await startProvider({ keepMessages: 10 });
    const { file: deaths, count: died } = await deathsIn(t);
    // A successor lets one interval pass before its first mail, three seconds.
    const limits = { connections: 2, messageRate: "20/m" };
    const match = { domains: ["slow.example"] };
    const routes = [{ host: "127.0.0.1", port: provider.port }];
    await using local = await startNext({
      resources: testResources({ rules: [{ name: "slow", match, limits, routes }] }),
      pods: 1,
      env: deadlyEnv({ port: provider.port, mark, deaths, suspectMs: 500 }),
    });
    await local.admin("/v1/queue/suspend", { tenant: "mail/acme" });
    await sendBurst({
      address: local.endpoints.smtp,
      count: 3,
      connections: 1,
      recipient: (number) => `u${number}@slow.example`,
      content: (number) => `${number === 1 ? `${mark}\r\n` : ""}Subject: ${number}\r\n\r\nhello\r\n`,
    });
    await local.admin("/v1/queue/resume", { tenant: "mail/acme" });
    const startedAt = performance.now();
    await untilParked(local, 90_000);
    t.diagnostic(`parked after ${await died()} deaths, ${Math.round(performance.now() - startedAt)} ms`);
    await until("the rest", () => provider.audit.ids.unique() === 2, 20_000);
    assert.equal(await died(), 3);
    assert.equal((await parkedIn(local)).length, 1, "nothing else was taken for it");
  });

  test("a mail for several sites that ends its pod as it is split is set aside at the third death", async (t) => {
    await using one = await startProvider({ keepMessages: 10 });
    await using two = await startProvider({ keepMessages: 10 });
    const { file: deaths, count: died } = await deathsIn(t);
    const ruleTo = (name: string, port: number) => ({
      name,
      match: { domains: [`${name}.example`] },
      routes: [{ host: "127.0.0.1", port }],
    });
    // What it is split into is stored under the token of its site.
    const child = hashToken(`127.0.0.1:${two.port}`);
    await using local = await startNext({
      resources: testResources({ rules: [ruleTo("one", one.port), ruleTo("two", two.port)] }),
      pods: 1,
      env: deadlyEnv({ mark: child, deaths }),
    });
    await using talk = await openTalk(local.endpoints.smtp);
    await talk.hear();
    await talk.say("EHLO client.example");
    await talk.say(plainLogin("acme", testPassword));
    await talk.say("MAIL FROM:<a@acme.example>");
    await talk.say("RCPT TO:<u@one.example>");
    await talk.say("RCPT TO:<u@two.example>");
    const message = "From: <a@acme.example>\r\nSubject: x\r\n\r\nhello";
    // Its pod may die before it answers.
    await talk.say(`BDAT ${message.length} LAST\r\n${message}`).catch(() => {});
    const startedAt = performance.now();
    const [parked] = await untilParked(local, 90_000);
    t.diagnostic(`parked after ${await died()} deaths, ${Math.round(performance.now() - startedAt)} ms`);
    assert.match(parked?.reason ?? "", /died/);
    assert.equal(await died(), 3);
    await rm(deaths);
    await local.admin("/v1/queue/retry", { id: parked?.id });
    await until("it, once told", () => two.audit.ids.unique() === 1, 20_000);
    await until("its other copy", () => one.audit.ids.unique() === 1, 20_000);
  });
});
