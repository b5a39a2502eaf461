/** Connections to NATS: shared by pools with the same servers and login, closed when the last of them is gone. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { createStreams } from "#operator/streams/streams.ts";
import { startTestNats, type TestNats } from "#test/kit/nats-server.ts";
import { until } from "#test/kit/until.ts";

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

interface Door extends AsyncDisposable {
  readonly url: string;
  /** Connections so far. The numbers that a server gives its clients do not tell: it has some of its own, made when it likes. */
  count(): number;
}

/** A way to the server. */
async function startDoor({ url }: TestNats): Promise<Door> {
  let count = 0;
  const server = createServer((client) => {
    count++;
    const inner = connect(Number(new URL(url).port), "127.0.0.1");
    for (const [from, to] of [
      [client, inner],
      [inner, client],
    ] as const)
      from
        .on("error", () => from.destroy())
        .on("close", () => to.destroy())
        .pipe(to);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `nats://127.0.0.1:${port}`,
    count: () => count,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

test("pools with the same servers and login share a connection; other shards are another queue", async () => {
  await using nats = await startTestNats();
  await using door = await startDoor(nats);
  const streams = createStreams({ name: "test", after });
  const settings = { servers: [door.url], login: { kind: "none" }, shards: 2 } as const;
  const a = streams.pool("mail/a", settings);
  assert.equal(streams.pool("mail/a", settings), a, "the same settings, the same queue");
  assert.notEqual(streams.pool("mail/a", { ...settings, shards: 4 }), a);
  const b = streams.pool("mail/b", settings);
  await b.report({ pods: new Set(), tenants: [], timeoutMs: 50 });
  assert.equal(door.count(), 1);
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
