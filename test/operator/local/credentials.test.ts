import assert from "node:assert/strict";
import { test } from "node:test";
import { apiVersion } from "#crds/api/v1alpha1/metadata.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { chosenLogin, type Login } from "#operator/local/credentials.ts";
import { loadResources } from "#operator/local/resources.ts";

const login = (username: string, pool: string): Login => ({
  tenant: `mail/${username}`,
  pool: `mail/${pool}`,
  username,
  password: "secret",
  from: `test@${username}.example`,
});
const logins = [login("acme", "second"), login("globex", "first"), login("initech", "first")];

test("chosenLogin() takes the first that fits the user and the pool", () => {
  const cases: [Parameters<typeof chosenLogin>[1], string | undefined][] = [
    [{}, "acme"],
    [{ user: "globex" }, "globex"],
    [{ pool: "first" }, "globex"],
    [{ pool: "mail/second" }, "acme"],
    [{ user: "nobody" }, undefined],
    [{ pool: "irst" }, undefined],
  ];
  for (const [choice, expected] of cases)
    assert.equal(chosenLogin(logins, choice)?.username, expected, JSON.stringify(choice));
});

test("loadResources() lists no login and no address that an older tenant has", () => {
  const tenant = (name: string, domains: readonly string[], credentials: readonly string[]): object => ({
    apiVersion,
    kind: "Tenant",
    metadata: { name, namespace: "mail" },
    spec: {
      poolRef: { name: "shared" },
      domains: domains.map((domain) => ({ name: domain })),
      credentials: credentials.map((secret) => ({ name: secret, secretRef: { name: secret } })),
    },
  });
  const secret = (name: string, username: string): object => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: "mail" },
    stringData: { username, password: name },
  });
  const documents = [
    {
      apiVersion,
      kind: "SendingPool",
      metadata: { name: "shared", namespace: "mail" },
      spec: { hostname: "out.example.net", queue: { servers: ["nats://n:4222"] } },
    },
    tenant("acme", ["acme.example"], ["first"]),
    tenant("globex", ["acme.example", "globex.example"], ["second", "third"]),
    tenant("initech", ["acme.example"], ["fourth"]),
    secret("first", "acme"),
    secret("second", "acme"),
    secret("third", "g"),
    secret("fourth", "i"),
  ];
  const gathered = gatherResources(documents.map((value) => ({ source: "files", value })));
  assert.deepEqual(gathered.issues, []);
  const settings = { nats: "nats://n:4222", singleServer: true, pods: 1, generation: 1, now: 0 };
  const nothing = gatherResources([]).snapshot;
  const before = { snapshot: nothing, draining: { tenants: [], secrets: [], namespaces: new Map() } };
  const { logins: loaded } = loadResources(gathered, settings, before);
  assert.deepEqual(
    loaded.map(({ tenant: id, pool, username, password, from }) => [id, pool, username, password, from]),
    [
      ["mail/acme", "mail/shared", "acme", "first", "test@acme.example"],
      ["mail/globex", "mail/shared", "g", "third", "test@globex.example"],
      ["mail/initech", "mail/shared", "i", "fourth", undefined],
    ],
  );
});
