import assert from "node:assert/strict";
import { test } from "node:test";
import { startProvider } from "#operator/provider/provider.ts";
import { type LocalMode, startLocal } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { openTalk } from "#test/kit/smtp-talk.ts";

const quota = 200;

/** Offers `count` messages on one connection; answers the final replies' codes. */
async function offer(local: LocalMode, count: number): Promise<Map<string, number>> {
  const codes = new Map<string, number>();
  await using talk = await openTalk(local.endpoints.smtp);
  await talk.hear();
  await talk.say("EHLO client.example");
  const login = Buffer.from(`\0acme\0${testPassword}`).toString("base64");
  assert.match(await talk.say(`AUTH PLAIN ${login}`), /^235/);
  for (let number = 0; number < count; number++) {
    await talk.say("MAIL FROM:<a@acme.example>");
    await talk.say(`RCPT TO:<u${number}@x.example>`);
    await talk.say("DATA");
    const reply = await talk.say("From: a@acme.example\r\nSubject: s\r\n\r\nt\r\n.");
    const code = reply.slice(0, 9);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  return codes;
}

test(`a quota of ${quota} a day holds over three pods and a restart of each, and little of it is lost`, async (t) => {
  await using provider = await startProvider({});
  const rules = [
    { name: "all", match: { domains: ["*"] }, routes: [{ host: "127.0.0.1", port: provider.port }] },
  ];
  const tenants = [{ name: "acme", limits: { messagesPerDay: quota } }];
  await using local = await startLocal({ resources: testResources({ tenants, rules }), pods: 3 });
  const sums = new Map<string, number>();
  const offerAll = async (count: number): Promise<void> => {
    // A connection lands on one pod: many, so that each has some.
    for (const codes of await Promise.all(Array.from({ length: 9 }, () => offer(local, count))))
      for (const [code, times] of codes) sums.set(code, (sums.get(code) ?? 0) + times);
  };
  await offerAll(6);
  for (const pod of [0, 1, 2]) await local.kill(pod);
  await offerAll(30);
  const accepted = sums.get("250 2.0.0") ?? 0;
  t.diagnostic(
    `${accepted} of ${quota} accepted: ${[...sums].map(([code, times]) => `${times} x ${code}`).join(", ")}`,
  );
  assert.deepEqual([...sums.keys()].sort(), ["250 2.0.0", "452 4.3.1"]);
  assert.ok(accepted <= quota, `${accepted} accepted`);
  // Three pods that were killed lost what they had claimed: a twelfth of what was left, each.
  assert.ok(accepted >= quota * 0.7, `${accepted} accepted`);
});
