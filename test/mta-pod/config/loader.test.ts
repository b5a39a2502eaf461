import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { formatIssue } from "#crds/values/issue.ts";
import { createLoader, loadConfig } from "#mta-pod/config/loader.ts";
import { example, project, temporaryFolders } from "./folders.ts";
import type { Example } from "./folders.ts";

function slotNameOf(files: ReadonlyMap<string, unknown>): string {
  const name = [...files.keys()].find((file) => file.endsWith(".gz"));
  assert.ok(name !== undefined);
  return name;
}

function issuesAfter(change: (files: Example) => void): string {
  using folders = temporaryFolders();
  const files = example();
  change(files);
  project(folders.configDir, files.config);
  project(folders.keysDir, files.keys);
  const loaded = loadConfig(folders.configDir, folders.keysDir);
  assert.ok(!loaded.ok, "expected a refusal");
  return loaded.issues.map(formatIssue).join("\n");
}

test("loadConfig() puts manifest, tenants and keys together", () => {
  using folders = temporaryFolders();
  const files = example();
  project(folders.configDir, files.config);
  project(folders.keysDir, files.keys);
  const loaded = loadConfig(folders.configDir, folders.keysDir);
  assert.ok(loaded.ok);
  assert.equal(loaded.config.manifest.pool, "mail/shared");
  assert.deepEqual([...loaded.config.tenants.keys()], ["mail/acme"]);
  assert.equal(loaded.config.credentials[0]?.username, "acme");
  assert.equal(loaded.config.dkimKeys[0]?.selector, "s1");
});

test("loadConfig() reads a plain folder as well as a projected one", () => {
  using folders = temporaryFolders();
  const files = example();
  for (const [name, content] of files.config) writeFileSync(join(folders.configDir, name), content);
  for (const [name, content] of files.keys) writeFileSync(join(folders.keysDir, name), content);
  writeFileSync(join(folders.configDir, "notes.txt"), "of no interest");
  assert.ok(loadConfig(folders.configDir, folders.keysDir).ok);
});

const refusals: [string, (files: Example) => void, RegExp][] = [
  [
    "no manifest",
    ({ config }) => void config.delete("pool.json"),
    /pool\.json: file: expected .* got no such file/,
  ],
  [
    "a torn manifest",
    ({ config }) => void config.set("pool.json", '{"version":1,"pool'),
    /pool\.json: file: expected JSON/,
  ],
  [
    "a manifest of another version",
    ({ config }) => void config.set("pool.json", '{"version":2}'),
    /pool\.json: version: expected version 1 of the pod configuration, got 2/,
  ],
  [
    "a manifest too large to read",
    ({ config }) => void config.set("pool.json", " ".repeat(2_000_000)),
    /got a larger one/,
  ],
  [
    "a missing slot",
    ({ config }) => void config.delete(slotNameOf(config)),
    /08\.json\.gz: file: expected a slot/,
  ],
  [
    "a slot of another manifest",
    ({ config }) => void config.set(slotNameOf(config), gzipSync('{"version":1,"tenants":[]}')),
    /08\.json\.gz: digest: expected [0-9a-f]{64} of the manifest/,
  ],
  [
    "a torn slot",
    ({ config }) => void config.set(slotNameOf(config), gzipSync("x").subarray(0, 12)),
    /08\.json\.gz: file: expected gzip/,
  ],
  [
    "a slot that inflates without end",
    ({ config }) => void config.set(slotNameOf(config), gzipSync(Buffer.alloc(64 * 1024 * 1024))),
    /08\.json\.gz: file: expected gzip of at most/,
  ],
  [
    "keys of another version",
    ({ keys }) => void keys.set(slotNameOf(keys), gzipSync('{"version":9}')),
    /\d{3}\.json\.gz: version: expected version 1/,
  ],
  [
    "keys that have not arrived",
    ({ keys }) => keys.clear(),
    /keys: file: expected a key for every login and selector .* got none for credential app of mail\/acme; selector s1/,
  ],
];
for (const [name, change, message] of refusals)
  test(`loadConfig() refuses ${name}, and says so`, () => {
    assert.match(issuesAfter(change), message);
  });

test("loadConfig() of folders that do not exist is a refusal, not a throw", () => {
  const loaded = loadConfig("/nonexistent/config", "/nonexistent/keys");
  assert.ok(!loaded.ok);
});

test("loadConfig() never quotes keys", () => {
  const issues = issuesAfter(
    ({ keys }) => void keys.set(slotNameOf(keys), gzipSync('{"version":1,"credentials":"hunter2","dkim":')),
  );
  assert.doesNotMatch(issues, /hunter2/);
});

test("createLoader() leaves keys of nobody out", () => {
  using folders = temporaryFolders();
  const files = example();
  project(folders.configDir, files.config);
  project(folders.keysDir, new Map([...files.keys, ...example("mail/stranger").keys]));
  const loaded = loadConfig(folders.configDir, folders.keysDir);
  assert.ok(loaded.ok);
  assert.equal(loaded.config.credentials.length, 1);
});

test("createLoader() parses an unchanged slot once", () => {
  using folders = temporaryFolders();
  const files = example();
  project(folders.configDir, files.config);
  project(folders.keysDir, files.keys);
  const load = createLoader(folders.configDir, folders.keysDir);
  const first = load();
  project(folders.configDir, files.config);
  const second = load();
  assert.ok(first.ok && second.ok);
  assert.equal(second.config.tenants.get("mail/acme"), first.config.tenants.get("mail/acme"));
});
