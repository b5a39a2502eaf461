import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { startProvider } from "#operator/provider/provider.ts";
import { startLocal } from "#test/kit/local.ts";
import { testResources } from "#test/kit/local-resources.ts";
import { sendBurst } from "#test/kit/smtp-talk.ts";
import { until } from "#test/kit/until.ts";
import { login, startHaproxy, startMailboatProxy, startMicrosocks } from "./kit/proxies.ts";

const count = 200;

/** Sends `count` messages through the pool's proxies. @returns messages by the address that the provider saw */
async function sendThrough(egress: (providerPort: number) => Readonly<Record<string, unknown>>) {
  await using provider = await startProvider({ tls: true });
  await using local = await startLocal({
    resources: testResources({
      rules: [
        {
          name: "any",
          match: { domains: ["*"] },
          limits: { connections: 4 },
          tls: { mode: "Required" },
          routes: [{ host: "127.0.0.1", port: provider.port }],
        },
      ],
      secrets: { "proxy-login": login },
      egress: egress(provider.port),
    }),
  });
  await sendBurst({
    address: local.endpoints.smtp,
    count,
    recipient: (number) => `u${number}@limited.example`,
    content: (number) => `Subject: ${number}\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(1000)}`,
  });
  await until("all of it", () => provider.audit.ids.unique() === count, 60_000);
  const { sources, ids } = provider.audit.stats();
  assert.equal(ids.repeated, 0);
  const messages = provider.messages.list({ limit: count });
  assert.ok(messages.every(({ tls }) => tls));
  return Object.fromEntries(Object.entries(sources).map(([address, meter]) => [address, meter.messages]));
}

test("pods send through microsocks, a SOCKS5 server of others, with a login and TLS inside", async () => {
  await using proxy = await startMicrosocks("127.0.0.5");
  const seen = await sendThrough(() => ({
    mode: "Proxy",
    proxy: { secretRef: { name: "proxy-login" } },
    sources: [{ name: "a", proxy: { host: "127.0.0.1", port: proxy.port } }],
  }));
  assert.deepEqual(seen, { "127.0.0.5": count });
});

test("pods send through haproxy: it reads source and destination out of their PROXY header", async () => {
  await using proxy = await startHaproxy({ source: "127.0.0.7", address: "127.0.0.6" });
  const seen = await sendThrough(() => ({
    mode: "Proxy",
    proxy: { protocol: "PROXYv2" },
    sources: [{ name: "a", address: "127.0.0.7", proxy: { host: "127.0.0.1", port: proxy.port } }],
  }));
  assert.deepEqual(seen, { "127.0.0.6": count });
});

test("curl gets through our proxy with its login alone, and to allowed destinations alone", async () => {
  await using provider = await startProvider({ httpPort: 0 });
  await using proxy = await startMailboatProxy();
  const url = `http://127.0.0.1:${provider.httpPort}/v1/stats`;
  const curl = async (user: string | null, to = url): Promise<number | undefined> => {
    const as = user === null ? "" : `${user}@`;
    const args = ["-s", "-f", "-m", "10", "-x", `socks5://${as}127.0.0.1:${proxy.port}`, to];
    try {
      await promisify(execFile)("curl", args);
      return 0;
    } catch (error) {
      const { code } = error as { code?: number | string };
      if (typeof code === "number") return code;
      throw new Error("Cannot run curl: apt-get install curl", { cause: error });
    }
  };
  assert.equal(await curl(`${login.username}:${login.password}`), 0);
  assert.equal(await curl(`${login.username}%40127.0.0.9:${login.password}`), 0);
  // 97: CURLE_PROXY.
  assert.equal(await curl(`${login.username}:wrong`), 97);
  assert.equal(await curl(null), 97);
  assert.equal(await curl(`${login.username}:${login.password}`, "http://10.255.255.1:25/"), 97);
  const counted = await (await fetch(`http://127.0.0.1:${proxy.metrics}/statusz`)).json();
  const { results } = counted as { results: Record<string, number> };
  assert.deepEqual([results["connected"], results["login"], results["not-allowed"]], [2, 2, 1]);
});
