/** The whole path under full load: every message that any client got a 250 for arrives once, whole, at its recipient. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { testPassword } from "#test/kit/local-resources.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { clients } from "./kit/clients.ts";
import { shardCount, startScene } from "./kit/scene.ts";

const messages = 100_000;
/** swaks is a process a message. */
const perClient: Readonly<Record<string, number>> = { smtplib: 500, curl: 300, nodemailer: 500, swaks: 50 };

test("100,000 messages of 10 KB through two pods, from swaks, smtplib, curl and nodemailer as well: each arrives exactly once", async (t) => {
  await using scene = await startScene({ pods: 2, connections: 20 });
  const startedAt = performance.now();
  const load = scene.load({ messages });
  const errand = {
    address: scene.local.endpoints.smtp,
    bytes: 10_000,
    user: "acme",
    password: testPassword,
    from: "news@acme.example",
    domains: scene.domains,
  };
  const others = Promise.all(
    Object.entries(clients).map(([name, send]) => send({ ...errand, messages: perClient[name] ?? 0 })),
  );
  // So that a client that fails ends the test at once, not after the load.
  const [sent] = await Promise.all([others, load.done]).catch((error: unknown) => {
    load.stop();
    throw error;
  });
  await scene.drained([load, ...sent]);
  const seconds = (performance.now() - startedAt) / 1000;
  const audit = assertNoneLost(t, [load, ...sent], scene.sink);
  t.diagnostic(
    `${Math.round(seconds)} s, ${Math.round(audit.accepted / seconds)} messages/s with clients, sink and audit on the same machine`,
  );
  for (const { pod, shards } of await scene.statuses()) {
    t.diagnostic(`${pod} owns shards ${shards.join(" ")}`);
    assert.equal(shards.length, shardCount / 2);
  }
  assert.equal(audit.accepted, messages + Object.values(perClient).reduce((sum, count) => sum + count, 0));
  assert.deepEqual(audit.doubled, []);
  assert.equal(audit.stray.length, 0);
  assert.equal(load.uncertain.size, 0);
  assert.equal(load.refused.length, 0);
  assert.equal(scene.sink.arrivals.size, audit.accepted, "and nothing else");
});
