import assert from "node:assert/strict";
import { test } from "node:test";
import { namedTenant } from "#mta-pod/queue-query.ts";

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
