import assert from "node:assert/strict";
import { test } from "node:test";
import { isAbout, namedTenant, sorted, tenantsCalled } from "#mta-pod/queue-query.ts";

const tenants = new Map(["mail/acme", "mail/globex", "other/globex"].map((id) => [id, {}]));

test("namedTenant() takes a bare name that is unique, and any full one", () => {
  assert.equal(namedTenant(tenants, "acme"), "mail/acme");
  assert.equal(namedTenant(tenants, "mail/globex"), "mail/globex");
  assert.equal(namedTenant(tenants, "mail/later"), "mail/later");
});

test("namedTenant() refuses a name that nobody has, and one that two have, with what to do", () => {
  const refused = (name: string): { status: number; message: string } => {
    try {
      return { status: 0, message: namedTenant(tenants, name) };
    } catch (error) {
      return error as { status: number; message: string };
    }
  };
  assert.equal(refused("nobody").status, 404);
  assert.match(refused("nobody").message, /expected a tenant of this pool, got "nobody"/);
  assert.equal(refused("globex").status, 400);
  assert.match(refused("globex").message, /expected one of mail\/globex, other\/globex, got "globex"/);
});

test("an act on a domain is about open recipients there", () => {
  const envelope = { id: "m1", to: ["u@one.example", "v@TWO.example", "w@two.example"] };
  const entry = { envelope, open: [0, 1] };
  assert.deepEqual(sorted(entry, { domain: "Two.example" }), { meant: [1], others: [0] });
  assert.deepEqual(sorted(entry, {}), { meant: [0, 1], others: [] });
  for (const [query, expected] of [
    [{ domain: "two.example" }, true],
    [{ domain: "wo.example" }, false],
    [{ domain: "three.example" }, false],
    [{ id: "m1" }, true],
    [{ id: "m2" }, false],
    [{ id: "m2", domain: "two.example" }, false],
  ] as const)
    assert.equal(isAbout(query)(entry), expected, JSON.stringify(query));
  assert.equal(isAbout({ domain: "two.example" })({ envelope, open: [0] }), false, "they are settled");
});

test("tenantsCalled() names the tenants of the pool that a bare or a full name may mean", () => {
  const cases: [string, string[]][] = [
    ["acme", ["mail/acme"]],
    ["globex", ["mail/globex", "other/globex"]],
    ["other/globex", ["other/globex"]],
    ["mail/later", []],
    ["nobody", []],
  ];
  for (const [name, wanted] of cases) assert.deepEqual(tenantsCalled(tenants, name), wanted, name);
});
