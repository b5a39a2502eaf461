/** What the operator knows of a pool by NATS: the pods' own peers and a real server on the other side. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createStreams } from "#operator/streams/streams.ts";
import type { PoolQueue } from "#operator/streams/pool-queue.ts";
import { createPeers } from "#mta-pod/spool/peers.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";

const pool = "mail/test";
const report = {
  incarnation: "a",
  generation: 3,
  digest: "d",
  keysDigest: "",
  shards: [0],
  queued: 7,
  oldestAt: null,
  sendable: 2,
  backlog: { messages: 2, oldestAt: null },
  busy: 0.5,
  refuses: false,
  tenants: {},
};

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** A pod that answers everything with `answer`. */
async function pod(nats: TestNats, name: string, answer: (kind: string, query: unknown) => object) {
  const spool = await startTestSpool(nats.url, { pod: name }, { makeStreams: false });
  const peers = createPeers({ spool, members: () => [] });
  peers.serve(async (kind, query) => answer(kind, query));
  return {
    async [Symbol.asyncDispose]() {
      peers.close();
      await spool.close();
    },
  };
}

function open(url: string): { queue: PoolQueue; [Symbol.asyncDispose]: () => Promise<void> } {
  const streams = createStreams({ name: "test", after });
  const queue = streams.pool(pool, { servers: [url], login: { kind: "none" }, shards: 2 });
  return { queue, [Symbol.asyncDispose]: () => streams.close() };
}

const ask = { tenants: [], timeoutMs: 3000 } as const;

test("report() has the answers of all expected pods, and of none that says what a pod would not", async () => {
  await using nats = await startTestNats();
  await using _a = await pod(nats, "a", () => report);
  await using _b = await pod(nats, "b", () => ({ ...report, generation: 4 }));
  await using _odd = await pod(nats, "odd", () => ({ generation: "many" }));
  await using opened = open(nats.url);
  const startedAt = performance.now();
  const said = await opened.queue.report({ ...ask, pods: new Set(["a", "b", "odd"]) });
  assert.ok(said.kind === "answers");
  const generations = [...said.reports].map(([name, { generation }]) => [name, generation]);
  assert.deepEqual(Object.fromEntries(generations), { a: 3, b: 4 });
  assert.ok(performance.now() - startedAt < 3000, "nobody was waited for in vain");
});

test("report() ends at its time when a pod is silent, with what the others said", async () => {
  await using nats = await startTestNats();
  await using _a = await pod(nats, "a", () => report);
  await using opened = open(nats.url);
  const said = await opened.queue.report({ tenants: [], timeoutMs: 300, pods: new Set(["a", "silent"]) });
  assert.ok(said.kind === "answers");
  assert.deepEqual([...said.reports.keys()], ["a"]);
});

test("the first question waits for the first try to connect: a server that is there is never away", async () => {
  await using nats = await startTestNats();
  await using opened = open(nats.url);
  const said = await opened.queue.report({ tenants: [], timeoutMs: 50, pods: new Set() });
  assert.deepEqual(said, { kind: "answers", reports: new Map(), waiting: new Map() });
});

test("a server that is away: said with the reason, known when it is back, and nothing is taken for empty", async () => {
  await using nats = await startTestNats();
  await using opened = open(nats.url);
  const { queue } = opened;
  await queue.report({ tenants: [], timeoutMs: 50, pods: new Set() });
  assert.equal(await queue.stored("mail/acme"), 0, "no stream was made: nothing is stored");
  await nats.kill();
  const away = async () => (await queue.report({ ...ask, timeoutMs: 50, pods: new Set() })).kind === "away";
  await until("it to be seen", away);
  const said = await queue.report({ ...ask, pods: new Set() });
  assert.ok(said.kind === "away" && said.text !== "" && said.text !== "no connection yet");
  assert.equal(await queue.stored("mail/acme"), undefined);
  assert.equal(await queue.witness({ pod: "a", incarnation: "i" }), false);
  assert.equal(await queue.discard("mail/acme"), false);
  assert.equal(await queue.purge("mail/acme"), false);
  assert.equal(await queue.incarnationOf("a"), undefined);
  await nats.restart();
  await until("it to be back", async () => !(await away()), 20_000);
});

test("witness() and discard() are done when one pod says so; whom they name is what was asked", async () => {
  await using nats = await startTestNats();
  const asked: unknown[] = [];
  let isComplete = false;
  await using _a = await pod(nats, "a", (kind, query) => {
    asked.push([kind, query]);
    return { isComplete };
  });
  await using opened = open(nats.url);
  const { queue } = opened;
  await queue.report({ tenants: [], timeoutMs: 50, pods: new Set() });
  asked.length = 0;
  const dead = { pod: "b", incarnation: "i1" };
  assert.equal(await queue.witness(dead), false, "no pod has taken it in");
  isComplete = true;
  assert.equal(await queue.witness(dead), true);
  assert.deepEqual(asked, [
    ["witness", dead],
    ["witness", dead],
  ]);
  asked.length = 0;
  assert.equal(await queue.discard("mail/acme"), true);
  const [[kind, act]] = asked as [[string, { job: string; action: string; selection: object }]];
  assert.equal(kind, "act");
  assert.deepEqual({ ...act, job: "" }, { job: "", action: "discard", selection: { tenant: "mail/acme" } });
});

test("unsuitable(): copies that a single server cannot keep", async () => {
  await using nats = await startTestNats();
  await using opened = open(nats.url);
  await opened.queue.report({ tenants: [], timeoutMs: 50, pods: new Set() });
  assert.equal(opened.queue.unsuitable(1), undefined);
  assert.deepEqual(opened.queue.unsuitable(3), {
    expected: "a NATS cluster for 3 copies of each stream",
    got: "a single server",
  });
});
