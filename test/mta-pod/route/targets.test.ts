import assert from "node:assert/strict";
import { test } from "node:test";
import type { Rule } from "#crds/pod-config/schema.ts";
import { createDestinations } from "#mta-pod/route/destinations.ts";
import { createRouter } from "#mta-pod/route/router.ts";
import type { SiteRoute } from "#mta-pod/route/router.ts";
import { fakeClock, fakeResolver } from "./fake-resolver.ts";
import type { FakeZone } from "./fake-resolver.ts";

const zones: Record<string, FakeZone> = {
  "mx1.example": { addresses: ["2a00::1", "9.9.9.1"] },
  "mx2.example": { addresses: ["9.9.9.2"] },
  "mx3.example": { addresses: ["9.9.9.1"] },
  "private.example": { addresses: ["10.0.0.1", "::ffff:10.0.0.2"] },
  "mixed.example": { addresses: ["10.0.0.1", "9.9.9.3"] },
  "many.example": { addresses: Array.from({ length: 40 }, (_, index) => `9.9.8.${index}`) },
  "many2.example": { addresses: Array.from({ length: 40 }, (_, index) => `9.9.7.${index}`) },
  "many3.example": { addresses: Array.from({ length: 40 }, (_, index) => `9.9.6.${index}`) },
  "broken.example": { failed: true },
};

function site(hops: readonly (readonly [string, number])[], rule: Rule | null = null): SiteRoute {
  return {
    id: "x",
    provider: "x",
    label: hops[0]?.[0] ?? "",
    rule,
    hops: hops.map(([host, preference]) => ({ host, preference, port: 25 })),
  };
}

function routerOf(allow: string[] = [], random: () => number = () => 0, prefer: "ipv4" | "ipv6" = "ipv4") {
  const resolver = fakeResolver(zones);
  const clock = fakeClock();
  const router = createRouter({ resolver, clock, random, prefer });
  router.configure([], allow);
  return { router, resolver, clock };
}

async function addressesOf(hops: readonly (readonly [string, number])[], allow: string[] = []) {
  const found = await routerOf(allow).router.targets(site(hops));
  return found.kind === "targets" ? found.targets.map(({ address }) => address) : found;
}

test("targets() orders by preference, IPv4 of a host before its IPv6, each address once", async () => {
  const hops = [
    ["mx1.example", 10],
    ["mx3.example", 15],
    ["mx2.example", 20],
  ] as const;
  assert.deepEqual(await addressesOf(hops), ["9.9.9.1", "2a00::1", "9.9.9.2"]);
});

test("targets() tries IPv6 first when told so", async () => {
  const { router } = routerOf([], () => 0, "ipv6");
  const found = await router.targets(site([["mx1.example", 10]]));
  assert.equal(found.kind === "targets" && found.targets[0]?.address, "2a00::1");
});

test("targets() shuffles hosts of equal preference, and only those", async () => {
  const draws = [0.9, 0.1, 0.5];
  const { router } = routerOf([], () => draws.shift() ?? 0);
  const found = await router.targets(
    site([
      ["mx1.example", 10],
      ["mx2.example", 10],
      ["mx3.example", 20],
    ]),
  );
  assert.deepEqual(found.kind === "targets" && found.targets.map(({ host }) => host), [
    "mx2.example",
    "mx1.example",
    "mx1.example",
  ]);
});

test("targets() gives 16 addresses at most and no more than 8 of one host", async () => {
  const addresses = await addressesOf([
    ["many.example", 1],
    ["many2.example", 2],
    ["many3.example", 3],
  ]);
  assert.ok(Array.isArray(addresses));
  assert.equal(addresses.length, 16);
  assert.equal(addresses.filter((address) => address.startsWith("9.9.8.")).length, 8);
});

test("targets() passes over hosts that do not exist and addresses that are not public", async () => {
  assert.deepEqual(
    await addressesOf([
      ["absent.example", 1],
      ["mixed.example", 2],
    ]),
    ["9.9.9.3"],
  );
});

test("targets() refuses with 5.4.4 when no host has an address, after all were asked", async () => {
  const found = await addressesOf([
    ["absent.example", 1],
    ["gone.example", 2],
  ]);
  assert.ok(!Array.isArray(found) && found.kind === "refused" && found.reply.isOurs === true);
  assert.deepEqual([found.reply.code, found.reply.enhanced], [550, "5.4.4"]);
});

test("targets() refuses when every address is private, unless the pool allows it", async () => {
  const found = await addressesOf([["private.example", 1]]);
  assert.ok(!Array.isArray(found) && found.kind === "refused");
  assert.match(found.reply.text, /10\.0\.0\.1/);
  assert.deepEqual(await addressesOf([["private.example", 1]], ["10.0.0.0/8"]), [
    "10.0.0.1",
    "::ffff:10.0.0.2",
  ]);
});

test("targets() says unknown when a host that might have an address could not be asked for", async () => {
  const found = await addressesOf([
    ["absent.example", 1],
    ["broken.example", 2],
  ]);
  assert.ok(!Array.isArray(found) && found.kind === "unknown");
  assert.match(found.text, /broken\.example/);
});

test("targets() of a smart host never refuses: the platform's mistake must not cost the tenants their mail", async () => {
  const relay: Rule = {
    name: "n/s/relay",
    provider: "relay",
    match: { domains: ["*"], mxSuffixes: [] },
    limits: {},
    timeouts: { connectMs: 1, bannerMs: 1, commandMs: 1, dataMs: 1, finalMs: 1 },
    tls: { mode: "None" },
    retry: {},
    routes: [{ host: "127.0.0.1", port: 2599 }],
  };
  const { router, resolver } = routerOf();
  router.configure([relay], []);
  const routed = router.peek("x.example");
  assert.ok(routed?.kind === "site");
  assert.equal((await router.targets(routed.site)).kind, "unknown");
  router.configure([relay], ["127.0.0.0/8"]);
  assert.deepEqual(await router.targets(routed.site), {
    kind: "targets",
    targets: [{ host: "127.0.0.1", address: "127.0.0.1", port: 2599 }],
  });
  assert.deepEqual(resolver.asked, []);
});

test("targets() remembers addresses for their TTL, at least 30 seconds", async () => {
  const { router, resolver, clock } = routerOf();
  resolver.zones = { "short.example": { addresses: ["9.9.9.9"], ttl: 1 } };
  const short = site([["short.example", 1]]);
  await router.targets(short);
  clock.advance(29_999);
  await router.targets(short);
  assert.equal(resolver.asked.length, 1);
  clock.advance(1);
  await router.targets(short);
  assert.equal(resolver.asked.length, 2);
});

const notPublic = [
  "0.0.0.0",
  "0.1.2.3",
  "10.1.2.3",
  "100.64.0.1",
  "127.0.0.1",
  "169.254.169.254",
  "172.16.0.1",
  "192.0.0.1",
  "192.0.2.1",
  "192.168.1.1",
  "198.18.0.1",
  "198.51.100.1",
  "203.0.113.1",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "::127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b:1::808:808",
  "100::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "fc00::1",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
  "4000::1",
  "mx.example",
  "",
];
test("isAllowed() refuses everything that is not a public address", () => {
  const { isAllowed } = createDestinations([]);
  assert.deepEqual(notPublic.filter(isAllowed), []);
});

test("isAllowed() passes public addresses, and what the pool lists in either form", () => {
  const { isAllowed } = createDestinations([]);
  for (const address of ["9.9.9.9", "2a00:1450::1", "64:ff9b::909:909"])
    assert.ok(isAllowed(address), address);
  const listed = createDestinations(["127.0.0.0/8", "fd00::/8", "nonsense"]);
  for (const address of ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"])
    assert.ok(listed.isAllowed(address), address);
  assert.ok(!listed.isAllowed("10.0.0.1"));
});
