/**
 * The DKIM keys of a tenant that is going: in force until it is drained, whatever becomes of its Secret and of the operator. And a
 * login at the egress proxies that is rotated.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { poolNames } from "#crds/wire/subject.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { startTestSpool } from "#test/kit/spool.ts";
import { until } from "#test/kit/until.ts";
import { dkimKey, pool, secret, startWorld, tenant, type World } from "./world.ts";

const names = poolNames("mail/shared");
const dkim = [{ selector: "s1", secretRef: { name: "acme-dkim", key: "tls.key" } }];

/** A signed tenant with a message in the queue. */
async function startSigned() {
  const world = await startWorld();
  world.api.state.create(kinds.secrets, secret("acme-dkim", { "tls.key": dkimKey }));
  world.api.state.create(kinds.tenants, tenant("acme", { domains: [{ name: "acme.example", dkim }] }));
  world.api.state.create(kinds.pools, pool(world.nats.url));
  await until("the tenant to be ready", () => world.conditions("tenants", "acme")["Ready"] === "True Ready");
  const spool = await startTestSpool(world.nats.url, { pool: "mail/shared", pod: "a-pod-of-before" });
  await spool.nc.request(names.entrySubject(0, "mail/acme", "site.example"), "mail", { timeout: 2000 });
  return {
    world,
    async [Symbol.asyncDispose]() {
      await spool[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}

/** Of the tenant, by pod. */
const keysOf = (world: World): string[][] =>
  [...world.fleet.running().values()].map(({ dkimKeys }) => dkimKeys.map(({ selector }) => selector));

async function deleteTenant(world: World): Promise<void> {
  world.api.state.remove(kinds.tenants, "mail", "acme");
  const states = () =>
    [...world.fleet.running().values()].map(({ tenants }) => tenants.get("mail/acme")?.state);
  await until("the pods to refuse its mail", () => states().every((one) => one === "Reject"));
}

async function deleteSecret(world: World): Promise<void> {
  world.api.state.remove(kinds.secrets, "mail", "acme-dkim");
  const isSeen = () => world.engine.stores.get("secrets", "mail/acme-dkim") === undefined;
  await until("the operator to see it", isSeen);
}

/** What the pods run comes from all that was seen by now. */
async function settled(world: World, name: string): Promise<void> {
  world.api.state.create(kinds.tenants, tenant(name));
  await until(
    "another tenant to be ready",
    () => world.conditions("tenants", name)["Ready"] === "True Ready",
  );
}

test("deleted with its Secret, a tenant keeps its keys, also under the next operator", async () => {
  await using scene = await startSigned();
  const { world } = scene;
  await deleteTenant(world);
  await deleteSecret(world);
  await settled(world, "probe");
  assert.deepEqual(keysOf(world), [["s1"], ["s1"]]);
  await world.restartOperator();
  await settled(world, "another");
  assert.deepEqual(keysOf(world), [["s1"], ["s1"]]);
  assert.equal(world.conditions("tenants", "acme")["ResolvedRefs"], "True ResolvedRefs");
});

test("the Secret first: the key goes, and is back once the tenant is deleted as well", async () => {
  await using scene = await startSigned();
  const { world } = scene;
  await deleteSecret(world);
  await until("the pods to be without", () => keysOf(world).every((keys) => keys.length === 0));
  await deleteTenant(world);
  await until("the pods to have it again", () => keysOf(world).every((keys) => keys.length === 1));
});

test("a rotated login at the egress proxies is a generation, in force in every pod before Programmed says so", async () => {
  await using world = await startWorld();
  const login = (password: string) => secret("proxy-login", { username: "pods", password });
  const proxy = { protocol: "SOCKS5", secretRef: { name: "proxy-login" } };
  const sources = [{ name: "a", weight: 1, proxy: { host: "proxy.example.net" } }];
  world.api.state.create(kinds.secrets, login("one"));
  const egress = { mode: "Proxy", proxy, sources };
  world.api.state.create(kinds.pools, pool(world.nats.url, { egress }));
  const isProgrammed = () => world.conditions("pools", "shared")["Programmed"] === "True Programmed";
  await until("the pool to be programmed", isProgrammed);
  const of = <T>(what: (config: PodConfig) => T): T[] => [...world.fleet.running().values()].map(what);
  const [before = 0] = of(({ manifest }) => manifest.generation);
  const data = { password: Buffer.from("two").toString("base64") };
  world.api.state.patch(kinds.secrets, { namespace: "mail", name: "proxy-login" }, { data });
  await until("the pods to have it", () =>
    of(({ proxyLogin }) => proxyLogin?.password).every((password) => password === "two"),
  );
  assert.ok(of(({ manifest }) => manifest.generation).every((generation) => generation > before));
  await until("the pool to be programmed with it", isProgrammed);
});
