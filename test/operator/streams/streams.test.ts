/** Connections to NATS: shared by pools with the same servers and login, closed when the last of them is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "@nats-io/transport-node";
import { createStreams } from "#operator/streams/streams.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** Of the client's number, which the server gives to one after the other. */
async function connectionsSoFar({ url }: TestNats): Promise<number> {
  const nc = await connect({ servers: url });
  const { client_id: id } = nc.info ?? { client_id: 0 };
  await nc.close();
  return Number(id);
}

test("pools with the same servers and login share a connection; other shards are another queue", async () => {
  await using nats = await startTestNats();
  const first = await connectionsSoFar(nats);
  const streams = createStreams({ name: "test", after });
  const settings = { servers: [nats.url], login: { kind: "none" }, shards: 2 } as const;
  const a = streams.pool("mail/a", settings);
  assert.equal(streams.pool("mail/a", settings), a, "the same settings, the same queue");
  assert.notEqual(streams.pool("mail/a", { ...settings, shards: 4 }), a);
  const b = streams.pool("mail/b", settings);
  await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 });
  assert.equal((await connectionsSoFar(nats)) - first, 2, "one of ours, and the one that counts");
  assert.equal(streams.known("mail/b"), b);
  streams.forget("mail/a");
  assert.equal(streams.known("mail/a"), undefined);
  assert.equal((await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 })).kind, "answers");
  streams.forget("mail/b");
  await until("the connection to be closed", async () => {
    const said = await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 });
    return said.kind === "away";
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
