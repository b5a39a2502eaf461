/** Connections to NATS: shared by pools with the same servers and login, closed when the last of them is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createStreams } from "#operator/streams/streams.ts";
import { startNatsProxy } from "#test/kit/nats-proxy.ts";
import { startTestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

test("pools with the same servers and login share a connection; other shards are another queue", async () => {
  await using nats = await startTestNats();
  await using way = await startNatsProxy(Number(new URL(nats.url).port));
  const streams = createStreams({ name: "test", after });
  const settings = {
    servers: [`nats://127.0.0.1:${way.port}`],
    login: { kind: "none" },
    shards: 2,
  } as const;
  const a = streams.pool("mail/a", settings);
  assert.equal(streams.pool("mail/a", settings), a, "the same settings, the same queue");
  assert.notEqual(streams.pool("mail/a", { ...settings, shards: 4 }), a);
  const b = streams.pool("mail/b", settings);
  for (const queue of [a, b])
    assert.equal((await queue.report({ pods: new Set(), tenants: [], timeoutMs: 50 })).kind, "answers");
  assert.equal(way.open(), 1);
  assert.equal(streams.known("mail/b"), b);
  streams.forget("mail/a");
  assert.equal(streams.known("mail/a"), undefined);
  assert.equal((await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 })).kind, "answers");
  streams.forget("mail/b");
  await until("the connection to be closed", async () => {
    const said = await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 });
    return said.kind === "away" && way.open() === 0;
  });
  await streams.close();
});

test("another login is another connection; one that is refused says why", async () => {
  await using nats = await startTestNats();
  const streams = createStreams({ name: "test", after });
  const login = { kind: "none" } as const;
  const queue = streams.pool("mail/a", { servers: ["nats://127.0.0.1:1"], login, shards: 2 });
  const said = await queue.report({ pods: new Set(), tenants: [], timeoutMs: 50 });
  assert.ok(said.kind === "away" && /refused|ECONNREFUSED/i.test(said.text), JSON.stringify(said));
  const other = streams.pool("mail/a", { servers: [nats.url], login, shards: 2 });
  assert.equal((await other.report({ pods: new Set(), tenants: [], timeoutMs: 50 })).kind, "answers");
  await streams.close();
});
