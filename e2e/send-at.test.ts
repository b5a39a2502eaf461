/** Mail for later, by `X-Send-At` and by the HTTP field: it waits, also through the end of everything, and then it is sent. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { until } from "#test/kit/until.ts";

const laterMs = 15_000;
const early = "early@later.example";

interface Posted {
  readonly status: number;
  readonly id?: string;
  readonly detail?: string;
}

async function post(local: LocalMode, body: string | object): Promise<Posted> {
  const isRaw = typeof body === "string";
  const response = await fetch(`http://${local.endpoints.http}/v1/messages`, {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from(`acme:${testPassword}`).toString("base64")}`,
      "content-type": isRaw ? "message/rfc822" : "application/json",
    },
    body: isRaw ? body : JSON.stringify(body),
  });
  return { status: response.status, ...((await response.json()) as object) };
}

const raw = (to: string, sendAt: string): string =>
  `From: a@acme.example\r\nTo: ${to}\r\nSubject: x\r\nX-Send-At: ${sendAt}\r\n\r\nfor later\r\n`;

test("mail with X-Send-At waits, is shown with its time, survives kill -9 of everything, and is sent then, without the field", async (t) => {
  await using provider = await startProvider();
  const rules = [
    {
      name: "later",
      match: { domains: ["later.example"] },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  const state = await mkdtemp(join(tmpdir(), "mailboat-e2e-"));
  t.after(() => rm(state, { recursive: true, force: true, maxRetries: 5 }));
  const resources = testResources({ rules });
  const first = await startLocal({ resources, pods: 2, state });
  const at = Date.now() + laterMs;
  const header = await post(first, raw("header@later.example", new Date(at).toISOString()));
  const json = { from: "a@acme.example", subject: "x", text: "for later" };
  const field = await post(first, { ...json, to: "field@later.example", sendAt: new Date(at).toISOString() });
  const several = await post(first, { ...json, to: ["one@later.example", "two@else.later.example"] });
  assert.equal(several.status, 202);
  const now = await post(first, { ...json, to: early });
  assert.deepEqual([header.status, field.status, now.status], [202, 202, 202]);
  interface Queue {
    readonly entries: readonly { readonly id: string; readonly state: string; readonly due: number }[];
  }
  const waiting = await until("both to wait", async () => {
    const { entries } = (await first.admin("/v1/queue")) as Queue;
    const found = entries.filter(({ id }) => id === header.id || id === field.id);
    return found.length === 2 && found;
  });
  assert.deepEqual(
    waiting.map(({ state: shown, due }) => [shown, due]),
    [
      ["waiting", at],
      ["waiting", at],
    ],
  );
  const why = (await first.admin(`/v1/messages/${header.id}`)) as { nextAttempt: number };
  assert.equal(why.nextAttempt, at);
  await until("what is for now", () =>
    provider.messages.list({ limit: 10 }).some(({ to }) => to.includes(early)),
  );
  await first.killAll();
  await using _second = await startLocal({ resources, pods: 2, state });
  const arrived = await until(
    "what was for later",
    () => {
      const list = provider.messages
        .list({ limit: 10 })
        .filter(({ to }) => /^(header|field)@/.test(to[0] ?? ""));
      return list.length === 2 && list;
    },
    60_000,
  );
  const lateMs = arrived.map((message) => message.at - at);
  t.diagnostic(`sent ${lateMs.join(" and ")} ms after the time asked for`);
  assert.ok(
    lateMs.every((ms) => ms >= 0),
    "never before its time",
  );
  for (const { number } of arrived)
    assert.doesNotMatch(String(provider.messages.raw(number)), /x-send-at/i, "meant for us alone");
});

test("a date that cannot be read, or is too far away, is refused for good and says why", async () => {
  const rules = [
    { name: "later", match: { domains: ["later.example"] }, routes: [{ host: "127.0.0.1", port: 1 }] },
  ];
  await using local = await startLocal({ resources: testResources({ rules }) });
  const far = new Date(Date.now() + 400 * 86_400_000).toISOString();
  for (const [sendAt, text] of [
    ["tomorrow", /expected a date/],
    [far, /167 hours/],
  ] as const) {
    const refused = await post(local, raw("a@later.example", sendAt));
    assert.equal(refused.status, 422);
    assert.match(JSON.stringify(refused), text);
  }
});
