import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalJson, digestOf, digestOfText } from "#crds/pod-config/encode.ts";
import { parseKeySlot, parseManifest, parseTenantSlot } from "#crds/pod-config/parse.ts";
import { passwordMac } from "#crds/pod-config/password-mac.ts";
import { keySlotFile, keySlotOf, slotFile, tenantSlotFile, tenantSlotOf } from "#crds/pod-config/slots.ts";
import { formatIssue } from "#crds/values/issue.ts";

test("canonicalJson() does not depend on the order of fields and reads back as the same value", () => {
  const shuffled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffled);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .toReversed()
        .map(([key, part]) => [key, shuffled(part)]),
    );
  };
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      assert.equal(canonicalJson(shuffled(value)), text);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
      assert.equal(digestOf(value), digestOfText(text));
    }),
  );
});

test("canonicalJson() leaves absent fields out", () => {
  assert.equal(canonicalJson({ b: undefined, a: 1 }), '{"a":1}');
});

test("slots have names of a fixed width that tell the two kinds apart", () => {
  fc.assert(
    fc.property(fc.string(), (tenant) => {
      assert.match(slotFile(tenantSlotOf(tenant)), tenantSlotFile);
      assert.match(slotFile(keySlotOf(tenant)), keySlotFile);
      assert.ok(Number(tenantSlotOf(tenant)) < 64 && Number(keySlotOf(tenant)) < 256);
    }),
  );
  assert.equal(tenantSlotOf("mail/acme"), "08");
});

test("the parsers refuse an unknown version before anything else", () => {
  for (const parse of [parseManifest, parseTenantSlot, parseKeySlot]) {
    const parsed = parse({ version: 2, surprise: true });
    assert.ok(!parsed.ok);
    assert.deepEqual(
      parsed.issues.map(({ where }) => where),
      ["version"],
    );
  }
});

test("parseTenantSlot() says where, what was expected and what was there", () => {
  const parsed = parseTenantSlot({ version: 1, tenants: [{ id: 7, sate: "Active" }] });
  assert.ok(!parsed.ok);
  const texts = parsed.issues.map(formatIssue);
  assert.ok(texts.includes("tenants[0].id: expected a string, got 7"), texts.join("\n"));
  assert.ok(
    texts.some((text) => text.startsWith("tenants[0].sate: expected one of the fields id, state, isGoing")),
    texts.join("\n"),
  );
});

test("parseKeySlot() never quotes what a slot of keys holds", () => {
  const parsed = parseKeySlot({
    version: 1,
    credentials: [{ passwordMac: "verysecret" }],
    dkim: "verysecret",
  });
  assert.ok(!parsed.ok);
  assert.doesNotMatch(parsed.issues.map(formatIssue).join("\n"), /verysecret/);
});

test("the parsers never throw", () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      for (const parse of [parseManifest, parseTenantSlot, parseKeySlot]) assert.ok(!parse(value).ok);
    }),
  );
});

test("passwordMac() is bound to the login", () => {
  const login = { tenant: "mail/acme", username: "app" };
  assert.equal(passwordMac(login, "secret"), passwordMac(login, Buffer.from("secret")));
  assert.notEqual(passwordMac(login, "secret"), passwordMac({ ...login, username: "other" }, "secret"));
});
