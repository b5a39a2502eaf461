import assert from "node:assert/strict";
import { test } from "node:test";
import type { PodConfig, Source } from "#crds/pod-config/schema.ts";
import { createEgress } from "#mta-pod/egress.ts";
import { silentLog } from "#mta-pod/runtime/log.ts";
import { configOf as baseConfig } from "./admit/pod-config.ts";

type EgressConfig = PodConfig["manifest"]["egress"];

function configOf(egress: Partial<EgressConfig>, proxyLogin?: PodConfig["proxyLogin"]): PodConfig {
  const config = baseConfig();
  const manifest = { ...config.manifest, egress: { ...config.manifest.egress, ...egress } };
  return { ...config, manifest, ...(proxyLogin === undefined ? {} : { proxyLogin }) };
}

const a: Source = { name: "a", address: "127.0.0.2", ehlo: "a.example", weight: 1 };
const b: Source = { name: "b", address: "192.0.2.7", ehlo: "b.example", weight: 3 };

function world(hasAddress?: (address: string) => Promise<boolean>) {
  const told: string[] = [];
  let timers: (() => void)[] = [];
  const egress = createEgress({
    log: silentLog,
    setSources: (sources) => told.push(`sources ${sources.map(({ name }) => name).join(" ")}`.trim()),
    changed: () => told.push("changed"),
    lost: () => told.push("lost"),
    after: (_ms, run) => {
      timers.push(run);
      return () => (timers = timers.filter((one) => one !== run));
    },
    ...(hasAddress === undefined ? {} : { hasAddress }),
  });
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const later = async (): Promise<void> => {
    const due = timers;
    timers = [];
    for (const run of due) run();
    await turn();
  };
  return { egress, told, turn, later };
}

const never = new AbortController().signal;

test("createEgress() binds the address in PodNetwork, and says when a way has changed", () => {
  const { egress, told } = world();
  egress.adopt(configOf({ sources: [a] }));
  egress.adopt(configOf({ sources: [a] }));
  egress.adopt(configOf({ sources: [{ ...a, ehlo: "new.example" }] }));
  assert.deepEqual(told, ["sources a", "changed", "sources a", "sources a", "changed"]);
  const { ehlo, localAddress, hop, isSink } = egress.wayOf("a") ?? {};
  assert.deepEqual([ehlo, localAddress, hop, isSink], ["new.example", "127.0.0.2", undefined, false]);
  assert.equal(egress.wayOf("gone"), undefined);
});

test("createEgress() leads through proxies with the pool's login, and never past one", () => {
  const { egress } = world();
  const proxy = { host: "proxy.example", port: 1080 };
  const login = { username: "pods", password: "secret" };
  const through = { protocol: "SOCKS5", connectMs: 3000, hasLogin: true } as const;
  egress.adopt(configOf({ mode: "Proxy", proxy: through, sources: [{ ...a, proxy }, b] }, login));
  assert.deepEqual(egress.wayOf("a")?.hop, {
    protocol: "SOCKS5",
    ...proxy,
    connectMs: 3000,
    address: "127.0.0.2",
    login,
  });
  assert.equal(egress.wayOf("a")?.localAddress, undefined);
  assert.equal(egress.wayOf("b"), undefined);
  egress.adopt(configOf({ mode: "Sink", sources: [b] }));
  assert.equal(egress.wayOf("b")?.isSink, true);
});

test("createEgress() uses in HostNetwork what the host has, by the kernel's own answer", async () => {
  const { egress, told } = world();
  egress.adopt(configOf({ mode: "HostNetwork", sources: [a, b] }));
  assert.deepEqual(told, ["sources"]);
  await egress.ready(never);
  assert.deepEqual(told, ["sources", "sources a", "changed"]);
  assert.equal(egress.wayOf("a")?.localAddress, "127.0.0.2");
  assert.equal(egress.wayOf("b"), undefined);
  egress.stop();
});

test("createEgress() waits for an address, follows it, and gives up when it is gone for three looks", async () => {
  const here = new Set<string>();
  const { egress, told, turn, later } = world(async (address) => here.has(address));
  egress.adopt(configOf({ mode: "HostNetwork", sources: [a, b] }));
  await turn();
  const stop = new AbortController();
  const aborted = egress.ready(stop.signal);
  stop.abort();
  await assert.rejects(aborted, /stopped before there was a source/);
  let isReady = false;
  void egress.ready(never).then(() => (isReady = true));
  await later();
  assert.equal(isReady, false);
  here.add("192.0.2.7");
  await later();
  await later();
  assert.equal(isReady, true);
  assert.deepEqual(told.splice(0), ["sources", "sources", "sources b", "changed"]);
  here.delete("192.0.2.7");
  await later();
  assert.deepEqual(told.splice(0), ["sources", "changed"]);
  assert.equal(egress.wayOf("b"), undefined);
  await later();
  assert.deepEqual(told, []);
  await later();
  assert.deepEqual(told, ["lost"]);
});

test("createEgress() goes on as it was in a pod that is about to be replaced for HostNetwork", async () => {
  const { egress, told, turn, later } = world(async () => false);
  egress.adopt(configOf({ sources: [{ name: "default", ehlo: "x.example", weight: 1 }] }));
  egress.adopt(configOf({ mode: "HostNetwork", sources: [b] }));
  await turn();
  for (let look = 0; look < 5; look++) await later();
  assert.deepEqual(told, ["sources default", "changed"]);
  assert.equal(egress.wayOf("default")?.ehlo, "x.example");
});
