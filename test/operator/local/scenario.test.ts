import assert from "node:assert/strict";
import { test } from "node:test";
import { createTransport } from "nodemailer";
import { startProvider } from "#operator/provider/provider.ts";
import { startLocal, type LocalMode } from "#test/kit/local.ts";
import { testPassword, testResources } from "#test/kit/local-resources.ts";
import { until } from "#test/kit/until.ts";

function transportOf(local: LocalMode): ReturnType<typeof createTransport> {
  const [host = "", port = ""] = local.endpoints.submission.split(":");
  const auth = { user: "acme", pass: testPassword };
  return createTransport({
    host,
    port: Number(port),
    requireTLS: true,
    auth,
    tls: { ca: local.ca },
    pool: true,
    maxConnections: 1,
  });
}

test("mail handed to local mode arrives once each, with a pod, nats-server and then everything killed in between", async () => {
  await using provider = await startProvider({ idHeader: "X-Audit" });
  const rules = [
    {
      name: "all",
      match: { domains: ["*"] },
      retry: { first: "1s", max: "2s" },
      routes: [{ host: "127.0.0.1", port: provider.port }],
    },
  ];
  const resources = testResources({ rules });
  let sent = 0;
  const send = async (local: LocalMode, count: number): Promise<void> => {
    const transport = transportOf(local);
    for (let number = 0; number < count; number++) {
      const headers = { "X-Audit": String(sent++) };
      await transport.sendMail({ from: "a@acme.example", to: `u${number}@x.example`, text: "t", headers });
    }
    transport.close();
  };
  const arrived = (boundMs: number): Promise<unknown> =>
    until("every message to arrive", () => provider.audit.ids.unique() === sent, boundMs);
  await using local = await startLocal({ resources, pods: 2 });
  await send(local, 10);
  await local.kill(0);
  await send(local, 10);
  await arrived(30_000);
  await local.killNats();
  await until(
    "another nats-server",
    async () => {
      const { entries } = (await local.admin("/v1/queue").catch(() => ({}))) as { entries?: unknown[] };
      return entries !== undefined;
    },
    30_000,
  );
  await send(local, 10);
  await local.killAll();
  await using again = await startLocal({ resources, pods: 2, state: local.state });
  await send(again, 5);
  await arrived(60_000);
  const { ids } = provider.audit.stats();
  assert.ok(ids.repeated <= 10, `${ids.repeated} repeated: more than can have been open`);
  assert.equal(await again.stop(), 0);
});
