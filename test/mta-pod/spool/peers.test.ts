import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { maxPeerAnswerBytes } from "#crds/wire/peer.ts";
import { createPeers } from "#mta-pod/spool/peers.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { eventually, startTestSpool } from "#test/kit/spool.ts";

describe("createPeers()", () => {
  let nats: TestNats;
  before(async () => {
    nats = await startTestNats();
  });
  after(() => nats[Symbol.asyncDispose]());

  test("gathers the answers of all live pods and ends when the last has come", async () => {
    await using a = await startTestSpool(nats.url, { pool: "t/ask", pod: "a" });
    await using b = await startTestSpool(nats.url, { pool: "t/ask", pod: "b" });
    await using stranger = await startTestSpool(nats.url, { pool: "t/other", pod: "c" });
    const members = () => [{ pod: "a" }, { pod: "b" }];
    const first = createPeers({ spool: a, members });
    const second = createPeers({ spool: b, members });
    const third = createPeers({ spool: stranger, members });
    for (const [peers, pod] of [
      [first, "a"],
      [second, "b"],
      [third, "c"],
    ] as const)
      peers.serve(async (kind, query) => ({ pod, kind, query }));
    await Promise.all([a, b, stranger].map(({ nc }) => nc.flush()));
    const startedAt = performance.now();
    const answers = await first.ask("depth", { tenant: "x" }, 5_000);
    assert.ok(performance.now() - startedAt < 2_500);
    assert.deepEqual(answers.map(({ pod }) => pod).sort(), ["a", "b"]);
    assert.deepEqual(answers.find(({ pod }) => pod === "b")?.answer, {
      pod: "b",
      kind: "depth",
      query: { tenant: "x" },
    });
    assert.deepEqual(await first.askPod("b", "one", { query: 1, timeoutMs: 5_000 }), {
      pod: "b",
      kind: "one",
      query: 1,
    });
    for (const peers of [first, second, third]) peers.close();
  });

  test("leaves out who is silent, fails, or has too much to say", async () => {
    await using a = await startTestSpool(nats.url, { pool: "t/bad", pod: "a" });
    await using b = await startTestSpool(nats.url, { pool: "t/bad", pod: "b" });
    const asking = createPeers({ spool: a, members: () => [{ pod: "a" }, { pod: "b" }, { pod: "gone" }] });
    const large = createPeers({ spool: b, members: () => [] });
    asking.serve(() => Promise.reject(new Error("broken")));
    large.serve(async () => "x".repeat(maxPeerAnswerBytes));
    await Promise.all([a, b].map(({ nc }) => nc.flush()));
    assert.deepEqual(await asking.ask("depth", null, 300), [{ pod: "b", answer: { error: "too-large" } }]);
    assert.equal(await asking.askPod("gone", "depth", { query: null, timeoutMs: 5_000 }), undefined);
    assert.deepEqual(await large.ask("depth", null, 300), []);
    asking.close();
    large.close();
  });

  test("ignores what is no question and answers the next one all the same", async () => {
    await using a = await startTestSpool(nats.url, { pool: "t/noise", pod: "a" });
    const peers = createPeers({ spool: a, members: () => [{ pod: "a" }] });
    let asked = 0;
    peers.serve(async () => ++asked);
    const subject = a.names.peerSubject();
    for (const text of ["", "{", "[]", '{"v":9,"kind":"x"}', '{"v":1,"kind":3}', "x".repeat(70_000)])
      a.nc.publish(subject, text, { reply: "noise" });
    assert.deepEqual(await peers.ask("x", null, 5_000), [{ pod: "a", answer: 1 }]);
    await eventually("only one question", () => asked === 1);
    peers.close();
  });

  test("answers what pods ask each other, however many people look", async () => {
    await using a = await startTestSpool(nats.url, { pool: "t/looks", pod: "a" });
    const peers = createPeers({ spool: a, members: () => [{ pod: "a" }] });
    const end = Promise.withResolvers<void>();
    let looking = 0;
    peers.serve(
      async (kind) => {
        if (kind !== "why") return kind;
        looking++;
        await end.promise;
        return kind;
      },
      (kind) => kind === "why",
    );
    const looks = Array.from({ length: 200 }, () => peers.ask("why", null, 1_000));
    await eventually("some looks to be answered", () => looking > 0);
    assert.deepEqual(await peers.ask("open", null, 5_000), [{ pod: "a", answer: "open" }]);
    assert.equal(looking, 32);
    peers.close();
    end.resolve();
    await a.nc.flush();
    assert.equal((await Promise.race(looks)).length, 1);
  });
});
