import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { createResourceReader, readResources } from "#operator/gather/folder.ts";
import { gatherResources } from "#operator/gather/resources.ts";

function folder(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "mailboat-gather-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

function tenant(name: string, namespace = "mail"): string {
  return `apiVersion: mailboat.dev/v1alpha1
kind: Tenant
metadata: {name: ${name}, namespace: ${namespace}}
spec: {poolRef: {name: shared}, domains: [{name: ${name}.example}]}
`;
}

function gather(text: string): { names: string[]; issues: string[] } {
  const { documents, issues } = documentsOf("x.yaml", text);
  const gathered = gatherResources(documents);
  return {
    names: gathered.snapshot.tenants.map(({ metadata }) => identityOf(metadata)),
    issues: [...issues, ...gathered.issues].map(formatIssue),
  };
}

test("readResources() reads files of any name, folders by extension, several documents each, in one order", () => {
  using at = folder();
  mkdirSync(join(at.path, "deep/er"), { recursive: true });
  writeFileSync(join(at.path, "z.yaml"), `${tenant("zulu")}---\n${tenant("alpha")}---\n`);
  writeFileSync(join(at.path, "deep/er/b.yml"), tenant("bravo", "a-first"));
  writeFileSync(join(at.path, "c.json"), JSON.stringify({ kind: "List", items: [] }));
  writeFileSync(join(at.path, "README.md"), "# not: a: resource");
  writeFileSync(join(at.path, ".hidden.yaml"), "nonsense: [");
  writeFileSync(join(at.path, "given"), tenant("given"));
  symlinkSync(at.path, join(at.path, "deep/loop"));
  const { snapshot, issues } = readResources([at.path, join(at.path, "given")]);
  assert.deepEqual(issues, []);
  assert.deepEqual(
    snapshot.tenants.map(({ metadata }) => identityOf(metadata)),
    ["a-first/bravo", "mail/alpha", "mail/given", "mail/zulu"],
  );
  assert.equal(snapshot.tenants[3]?.source, `${join(at.path, "z.yaml")}[doc 1] Tenant mail/zulu`);
});

test("readResources() passes over kinds of others in a folder, not in a file that is named, and never over a slip of our own", () => {
  using at = folder();
  const others = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mail}\n";
  writeFileSync(join(at.path, "all.yaml"), `${others}---\n${tenant("acme")}`);
  writeFileSync(
    join(at.path, "kustomization.yaml"),
    "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [all.yaml]\n",
  );
  assert.deepEqual(readResources([at.path]).issues, []);
  assert.equal(readResources([at.path]).snapshot.tenants.length, 1);
  const named = readResources([join(at.path, "all.yaml")]).issues.map(formatIssue);
  assert.match(named.join(), /all\.yaml\[doc 1\] ConfigMap default\/mail: kind: expected SendingPool/);
  writeFileSync(
    join(at.path, "slips.yaml"),
    [
      tenant("a").replace("Tenant", "Tennant"),
      tenant("b").replace("mailboat.dev", "mailbaot.dev"),
      tenant("c").replace("apiVersion: mailboat.dev/v1alpha1\n", ""),
      "kind: ConfigMap\n",
    ].join("---\n"),
  );
  assert.equal(readResources([at.path]).issues.length, 4);
});

function namespace(name: string, labels: object = {}): string {
  return `${JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } })}\n`;
}

test("readResources() takes labels of Namespaces, from a folder as from a file that is named", () => {
  using at = folder();
  const file = join(at.path, "all.yaml");
  writeFileSync(file, `${namespace("shop", { mail: "yes" })}---\n${tenant("acme", "shop")}`);
  for (const path of [at.path, file]) {
    const { snapshot, issues } = readResources([path]);
    assert.deepEqual(issues, []);
    assert.deepEqual(
      [...(snapshot.namespaces ?? [])],
      [["shop", { mail: "yes", "kubernetes.io/metadata.name": "shop" }]],
    );
  }
});

test("gatherResources(): a Namespace that is given twice is known when both say the same", () => {
  const labelsOf = (...texts: string[]) => [
    ...(gatherResources(documentsOf("x.yaml", texts.join("---\n")).documents).snapshot.namespaces ?? []),
  ];
  const [one, other] = [namespace("shop", { mail: "yes" }), namespace("shop", { mail: "no" })];
  assert.deepEqual(labelsOf(one, one), labelsOf(one));
  assert.deepEqual(labelsOf(one, other), []);
  assert.deepEqual(labelsOf(one, other, one), []);
  assert.deepEqual(labelsOf(JSON.stringify({ kind: "List", items: [JSON.parse(one)] })), labelsOf(one));
});

test("readResources() says what cannot be read and goes on", () => {
  using at = folder();
  writeFileSync(join(at.path, "a.yaml"), tenant("acme"));
  writeFileSync(join(at.path, "binary.yaml"), Buffer.from([0xff, 0xfe, 0x00]));
  writeFileSync(join(at.path, "large.yaml"), "");
  truncateSync(join(at.path, "large.yaml"), 20 * 1024 * 1024);
  symlinkSync("nowhere", join(at.path, "dangling.yaml"));
  const { snapshot, issues } = readResources([at.path, join(at.path, "missing")]);
  assert.equal(snapshot.tenants.length, 1);
  const texts = issues.map(formatIssue).join("\n");
  assert.match(texts, /binary\.yaml: file: expected a text in UTF-8/);
  assert.match(texts, /large\.yaml: file: expected at most 16777216 bytes, got 20971520 bytes/);
  assert.match(texts, /dangling\.yaml: file: expected .* got ENOENT/);
  assert.match(texts, /missing: file: expected .* got ENOENT/);
});

test("a reader gives what stands in files that stayed the same as the same resources, and everything else anew", () => {
  using at = folder();
  const [first, second] = [join(at.path, "a.yaml"), join(at.path, "b.yaml")];
  const bad = tenant("bad").replace("domains", "domain");
  writeFileSync(first, `${tenant("alpha")}---\n${bad}`);
  writeFileSync(second, tenant("zulu"));
  const read = createResourceReader();
  const before = read([at.path]);
  writeFileSync(second, tenant("zulu").replace("zulu.example", "other.example"));
  const after = read([at.path]);
  assert.equal(after.snapshot.tenants[0], before.snapshot.tenants[0]);
  assert.equal(after.snapshot.tenants[1]?.spec.domains[0]?.name, "other.example");
  assert.deepEqual(after.issues, before.issues, "what is wrong is said again");
  assert.equal(after.issues.length > 0, true);
  renameSync(first, join(at.path, "c.yaml"));
  const moved = read([at.path]);
  assert.equal(moved.snapshot.tenants[0]?.source, `${join(at.path, "c.yaml")}[doc 1] Tenant mail/alpha`);
  rmSync(second);
  assert.deepEqual(
    read([at.path]).snapshot.tenants.map(({ metadata }) => metadata.name),
    ["alpha"],
  );
});

const refusals: [string, string, RegExp][] = [
  [
    "a syntax error with its line",
    `${tenant("a")}---\na: [1,\nb: 2\n`,
    /x\.yaml\[doc 2\]: line \d+, column \d+: expected YAML/,
  ],
  [
    "a key given twice",
    "kind: Tenant\nkind: Tenant\n",
    /line 2, column 1: expected YAML, got Map keys must be unique/,
  ],
  [
    "aliases that multiply",
    `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`,
    /expected YAML, got Excessive alias count/,
  ],
  ["a text", "just words", /x\.yaml\[doc 1\]: kind: expected SendingPool, .* got nothing/],
  [
    "a foreign kind",
    "kind: ConfigMap\nmetadata: {name: a}\n",
    /\[doc 1\] ConfigMap default\/a: kind: expected .* got "ConfigMap"/,
  ],
  [
    "a namespace's label that is no text",
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {mail: true}}\n",
    /Namespace default\/shop: metadata\.labels\.mail: expected a string, got true/,
  ],
  [
    "a foreign group",
    tenant("a").replace("mailboat.dev", "other.dev"),
    /apiVersion: expected "mailboat\.dev\/v1alpha1"/,
  ],
  ["a namespace that is none", tenant("a", "No_Such"), /metadata\.namespace: expected a name of lower-case/],
  ["a list without items", "kind: List\n", /List: items: expected a list, got nothing/],
  [
    "a list in a list",
    "kind: List\nitems: [{kind: List, items: []}]\n",
    /items\[0\]: kind: .* got a List inside a List/,
  ],
  [
    "the same name twice",
    `${tenant("a")}---\n${tenant("a")}`,
    /\[doc 2\] Tenant mail\/a: metadata\.name: expected .* got the one of x\.yaml\[doc 1\] Tenant mail\/a again/,
  ],
  [
    "base64 that is none",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: 'hunter2!'}\n",
    /Secret default\/s: data\.password: expected base64, got something else/,
  ],
];
for (const [name, text, message] of refusals)
  test(`gatherResources() refuses ${name}`, () => {
    assert.match(gather(text).issues.join("\n"), message);
  });

test("gatherResources() takes anchors, aliases and merge keys as kubectl does", () => {
  const text = [
    "apiVersion: mailboat.dev/v1alpha1",
    "kind: TrafficShape",
    "metadata: {name: a, namespace: mail}",
    "spec:",
    "  rules:",
    "  - &one {name: one, match: {domains: [a.example]}, limits: &few {connections: 2}}",
    "  - {name: two, match: {domains: [b.example]}, limits: *few}",
    "  - {<<: *one, name: three}",
  ].join("\n");
  const { snapshot, issues } = gatherResources(documentsOf("x.yaml", text).documents);
  assert.deepEqual(issues, []);
  const [first, second, third] = snapshot.shapes[0]?.spec.rules ?? [];
  assert.deepEqual(second?.limits, first?.limits);
  assert.deepEqual(third, { ...first, name: "three" });
});

test("gatherResources() never quotes a Secret", () => {
  const secret = (data: string): string => `apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n${data}\n`;
  const texts = [
    ...gather(secret("data: {password: 'hunter2!'}")).issues,
    ...gather(secret("stringData: {password: {inner: hunter2}}")).issues,
    ...gather(secret("stringData: hunter2")).issues,
    ...gather(secret("data: [hunter2]")).issues,
  ];
  assert.equal(texts.length, 4);
  assert.doesNotMatch(texts.join("\n"), /hunter2/);
});

test("a Secret's stringData wins over its data, and wrapped base64 is read", () => {
  const { documents } = documentsOf(
    "x.yaml",
    `apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: Opaque\ndata:\n  a: b25l\n  b: |\n    dHdv\n    dHdv\nstringData: {a: other}\n`,
  );
  const [secret] = gatherResources(documents).snapshot.secrets;
  const text = (key: string): string => Buffer.from(secret?.data.get(key) ?? []).toString();
  assert.equal(text("a"), "other");
  assert.equal(text("b"), "twotwo");
  assert.equal(secret?.data.get("b")?.buffer.byteLength, 11, "no piece of a pool of 64 KiB is kept for it");
});

test("gatherResources() does not depend on the order of documents", () => {
  const names = ["a", "b", "c", "d", "e"];
  fc.assert(
    fc.property(fc.shuffledSubarray(names, { minLength: 5 }), (order) => {
      const gathered = gather(order.map((name) => tenant(name)).join("---\n"));
      assert.deepEqual(gathered, { names: names.map((name) => `mail/${name}`), issues: [] });
    }),
  );
});

test("documentsOf() and gatherResources() never throw", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.json()), (text) => {
      gather(text);
    }),
  );
});
