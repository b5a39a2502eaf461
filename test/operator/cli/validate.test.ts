import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runValidate } from "#operator/cli/validate.ts";

const pool = `apiVersion: mailboat.dev/v1alpha1
kind: SendingPool
metadata: {name: shared, namespace: mail}
spec: {hostname: out.example.net, queue: {servers: ["nats://nats:4222"]}}
`;

const tenant = `apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: acme, namespace: mail}
spec: {poolRef: {name: shared}, domains: [{name: acme.example}], credentials: [{name: app, secretRef: {name: s}}]}
`;

async function validated(text: string, options: { json?: boolean; withoutSecrets?: boolean } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "mailboat-validate-"));
  try {
    const file = join(folder, "in.yaml");
    writeFileSync(file, text);
    const lines: string[] = [];
    const code = await runValidate({
      json: false,
      ...options,
      files: [file],
      out: (line) => lines.push(line),
    });
    return { code, text: lines.join("\n").replaceAll(file, "in.yaml") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("runValidate() of the shipped examples finds nothing", async () => {
  const lines: string[] = [];
  const files = [join(import.meta.dirname, "../../../charts/examples")];
  assert.equal(await runValidate({ files, json: false, out: (line) => lines.push(line) }), 0);
  assert.match(lines.join("\n"), /^valid: \d+ resources$/);
});

test("runValidate() prints file, document, resource, path, expected and got, and a closing line", async () => {
  const { code, text } = await validated(`${pool}---\n${tenant}`);
  assert.equal(code, 1);
  assert.equal(
    text,
    "in.yaml[doc 2] Tenant mail/acme: spec.credentials[0].secretRef: expected the Secret mail/s, got no such Secret\n" +
      "invalid: 1 issue, 2 resources read",
  );
});

test("runValidate() makes missing Secrets a note when they are kept elsewhere", async () => {
  const { code, text } = await validated(`${pool}---\n${tenant}`, { withoutSecrets: true });
  assert.equal(code, 0);
  assert.match(text, /^note: in\.yaml\[doc 2\] .*\nvalid: 2 resources$/);
});

const closed = `apiVersion: mailboat.dev/v1alpha1
kind: SendingPool
metadata: {name: shared, namespace: mail}
spec:
  hostname: out.example.net
  queue: {servers: ["nats://nats:4222"]}
  allowedTenants: {from: Selector, selector: {matchLabels: {mail: "yes"}}}
`;
const guest = `apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: acme, namespace: shop}
spec: {poolRef: {name: shared, namespace: mail}, domains: [{name: acme.example}]}
`;
const shop = (mail: string): string => `apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {mail: "${mail}"}}
`;

test("runValidate() lets a tenant in by the labels of its Namespace, and not by others", async () => {
  assert.deepEqual(await validated([shop("yes"), closed, guest].join("---\n")), {
    code: 0,
    text: "valid: 2 resources",
  });
  const { code, text } = await validated([shop("no"), closed, guest].join("---\n"));
  assert.equal(code, 1);
  assert.match(text, /acme: spec\.poolRef\.namespace: expected a pool of the namespace shop, or one that/);
  const byName = closed.replace('mail: "yes"', "kubernetes.io/metadata.name: shop");
  assert.equal((await validated(`${byName}---\n${guest}`)).text, "valid: 2 resources");
  assert.equal((await validated(`${byName.replace("name: shop", "name: other")}---\n${guest}`)).code, 1);
});

test("runValidate() notes that a namespace's labels are not known, and checks the tenant all the same", async () => {
  const { code, text } = await validated(`${closed}---\n${guest}`);
  assert.equal(code, 0);
  assert.equal(
    text,
    "note: in.yaml[doc 2] Tenant shop/acme: spec.poolRef.namespace: expected a Namespace shop with its labels among the files, " +
      "for the pool mail/shared lets tenants in by them, got none, or several that differ\nvalid: 2 resources",
  );
  const login = "spec: {credentials: [{name: app, secretRef: {name: s}}],";
  const checked = await validated(`${closed}---\n${guest.replace("spec: {", `${login} `)}`);
  assert.equal(checked.code, 1);
  assert.match(
    checked.text,
    /^note: .*\n.*expected the Secret shop\/s, got no such Secret\ninvalid: 1 issue/,
  );
});

test("runValidate(): a namespace cannot have two values of one label", async () => {
  const other = closed.replace("name: shared", "name: other").replace('mail: "yes"', 'mail: "no"');
  const second = guest.replaceAll("acme", "globex").replace("name: shared", "name: other");
  const { code, text } = await validated([closed, guest, other, second].join("---\n"));
  assert.equal(code, 1);
  assert.match(text, /\ninvalid: 1 issue, 4 resources read$/);
});

test("runValidate() says the cause and not what follows from it", async () => {
  const { code, text } = await validated(`${pool.replace("hostname", "hostnam")}---\n${tenant}`);
  assert.equal(code, 1);
  assert.match(text, /spec\.hostname: expected a string, got nothing/);
  assert.doesNotMatch(text, / Tenant /);
});

test("runValidate() of nothing is an answer of no", async () => {
  const { code, text } = await validated("# only a comment\n");
  assert.equal(code, 1);
  assert.match(text, /files: expected one resource or more, got none/);
});

test("runValidate() with json prints one object", async () => {
  const { code, text } = await validated(`${pool}---\n${tenant}`, { json: true });
  assert.equal(code, 1);
  const printed = JSON.parse(text) as { ok: boolean; issues: { where: string; reason: string }[] };
  assert.equal(printed.ok, false);
  assert.equal(printed.issues[0]?.reason, "SecretNotFound");
});
