import assert from "node:assert/strict";
import { test } from "node:test";
import { apiVersion } from "#crds/api/v1alpha1/metadata.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { type Before, loadResources, type LocalResources } from "#operator/local/resources.ts";

const settings = { nats: "nats://n:4222", singleServer: true, pods: 1, generation: 1, now: 0 };
const nothing: Before = {
  snapshot: gatherResources([]).snapshot,
  draining: { tenants: [], secrets: [], namespaces: new Map() },
};

const pool = (matchLabels: object): object => ({
  apiVersion,
  kind: "SendingPool",
  metadata: { name: "shared", namespace: "mail" },
  spec: {
    hostname: "out.example.net",
    queue: { servers: ["nats://n:4222"] },
    allowedTenants: { from: "Selector", selector: { matchLabels } },
  },
});
const guest: object = {
  apiVersion,
  kind: "Tenant",
  metadata: { name: "acme", namespace: "shop" },
  spec: { poolRef: { name: "shared", namespace: "mail" }, domains: [{ name: "acme.example" }] },
};
const shop = (labels: object): object => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name: "shop", labels },
});

function loaded(documents: readonly object[], before = nothing): LocalResources {
  const gathered = gatherResources(documents.map((value) => ({ source: "files", value })));
  assert.deepEqual(gathered.issues, []);
  return loadResources(gathered, settings, before);
}

function told({ pools, refused }: LocalResources): { tenants: string[]; refused: string[] } {
  const tenants = pools.flatMap((one) => [...one.tenants.keys()]);
  return { tenants, refused: refused.map(formatIssue) };
}

test("loadResources() lets a tenant in by the labels of its Namespace, or by its name", () => {
  const mail = pool({ mail: "yes" });
  const isIn = { tenants: ["shop/acme"], refused: [] };
  assert.deepEqual(told(loaded([mail, guest, shop({ mail: "yes" })])), isIn);
  assert.deepEqual(told(loaded([pool({ "kubernetes.io/metadata.name": "shop" }), guest])), isIn);
  const other = told(loaded([mail, guest, shop({ mail: "no" })]));
  assert.deepEqual(other.tenants, []);
  assert.match(
    other.refused.join(),
    /expected a pool of the namespace shop, or one that lets its tenants in/,
  );
});

test("loadResources() says that a Namespace is missing, and does not let its tenant in", () => {
  const { tenants, refused } = told(loaded([pool({ mail: "yes" }), guest]));
  assert.deepEqual(tenants, []);
  assert.equal(refused.length, 1);
  assert.match(refused.join(), /expected a Namespace shop with its labels among the files/);
});

test("loadResources(): a tenant that is removed together with its Namespace drains", () => {
  const mail = pool({ mail: "yes" });
  const before = loaded([mail, guest, shop({ mail: "yes" })]);
  const after = loaded([mail], before);
  assert.deepEqual(told(after), { tenants: [], refused: [] });
  assert.equal(after.pools[0]?.draining.get("shop/acme")?.config.state, "Reject");
});

test("loadResources(): a tenant that names a pool which is not there stays in its own, until one takes it", () => {
  const own = { apiVersion, kind: "SendingPool", metadata: { name: "own", namespace: "shop" } };
  const spec = { hostname: "out.example.net", queue: { servers: ["nats://n:4222"] } };
  const pools = [
    { ...own, spec },
    { ...own, metadata: { ...own.metadata, name: "other" }, spec },
  ];
  const login = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "login", namespace: "shop" },
    stringData: { username: "acme", password: "p" },
  };
  const acme = (name: string): object => ({
    ...guest,
    spec: {
      poolRef: { name },
      domains: [{ name: "acme.example" }],
      credentials: [{ name: "app", secretRef: { name: "login" } }],
    },
  });
  const before = loaded([...pools, login, acme("own")]);
  const after = loaded([...pools, login, acme("onw")], before);
  assert.match(told(after).refused.join(), /expected the SendingPool shop\/onw, got .* stays in shop\/own$/);
  const again = loaded([...pools, login, acme("onw")], after);
  const place = ({ pools: all }: LocalResources): string[] =>
    all.flatMap(({ pool: id, tenants, draining }) => [
      ...[...tenants.keys()].map((tenant) => `${tenant} in ${id}`),
      ...[...draining.keys()].map((tenant) => `${tenant} drains in ${id}`),
    ]);
  assert.deepEqual(place(again), ["shop/acme in shop/own"]);
  assert.deepEqual(
    again.logins.map((one) => one.pool),
    ["shop/own"],
  );
  const moved = loaded([...pools, login, acme("other")], again);
  assert.deepEqual(place(moved), ["shop/acme in shop/other", "shop/acme drains in shop/own"]);
  const back = loaded([...pools, login, acme("own")], again);
  assert.deepEqual(place(back), ["shop/acme in shop/own"]);
});
