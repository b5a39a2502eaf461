import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { slotFile } from "#crds/pod-config/slots.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { watchConfig } from "#mta-pod/config/watcher.ts";
import { until } from "#test/kit/until.ts";
import { example, project, temporaryFolders } from "./folders.ts";
import type { Folders } from "./folders.ts";

type Settle = Pick<Parameters<typeof watchConfig>[0], "settleMs" | "now">;

interface Watching extends Disposable {
  readonly configs: PodConfig[];
  readonly issues: string[];
  readonly controller: AbortController;
}

function watching(folders: Folders, pollMs = 10, settle: Settle = { settleMs: 0 }): Watching {
  const configs: PodConfig[] = [];
  const issues: string[] = [];
  const controller = new AbortController();
  watchConfig({
    configDir: folders.configDir,
    keysDir: folders.keysDir,
    onConfig: (config) => configs.push(config),
    onIssues: (found) => issues.push(found.map(formatIssue).join("\n")),
    signal: controller.signal,
    pollMs,
    ...settle,
  });
  return { configs, issues, controller, [Symbol.dispose]: () => controller.abort() };
}

function put(folders: Folders, files: ReturnType<typeof example>): void {
  project(folders.keysDir, files.keys);
  project(folders.configDir, files.config);
}

test("watchConfig() hands over what is there before it returns", () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders);
  assert.equal(watched.configs.length, 1);
});

test("watchConfig() takes over a swap of ..data", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders);
  put(folders, example("mail/other"));
  await until("the configuration", () => watched.configs.length === 2);
  assert.deepEqual([...(watched.configs[1]?.tenants.keys() ?? [])], ["mail/other"]);
});

test("watchConfig() notices a swap without waiting for the poll", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders, 3_600_000);
  put(folders, example("mail/other"));
  await until("the configuration", () => watched.configs.length === 2);
});

test("watchConfig() keeps the last good configuration and reports a bad one once", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders);
  project(folders.configDir, new Map([["pool.json", '{"version":1,']]));
  await until("the issues", () => watched.issues.length === 1);
  project(folders.configDir, new Map([["pool.json", '{"version":1,']]));
  // Other issues show that the swap above has been seen and was not reported again.
  project(folders.configDir, new Map([["pool.json", '{"version":7}']]));
  await until("the issues", () => watched.issues.some((text) => text.includes("got 7")));
  assert.equal(watched.issues.filter((text) => text.includes("expected JSON")).length, 1);
  assert.equal(watched.configs.length, 1);
  put(folders, example("mail/other"));
  await until("the configuration", () => watched.configs.length === 2);
});

test("watchConfig() waits for keys that arrive after the slots", async () => {
  using folders = temporaryFolders();
  const files = example();
  project(folders.configDir, files.config);
  using watched = watching(folders);
  assert.equal(watched.configs.length, 0);
  assert.match(watched.issues[0] ?? "", /expected a key for every login/);
  project(folders.keysDir, files.keys);
  await until("the configuration", () => watched.configs.length === 1);
});

test("watchConfig() says nothing of files that do not fit together for a moment only", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  let looks = 0;
  const now = (): number => {
    looks++;
    return 0;
  };
  using watched = watching(folders, 10, { settleMs: 1, now });
  // The login goes before the slot that names it.
  project(folders.keysDir, example("mail/other").keys);
  await until("it to be refused", () => looks > 0);
  project(folders.configDir, example("mail/other").config);
  await until("the configuration", () => watched.configs.length === 2);
  assert.deepEqual(watched.issues, []);
});

test("watchConfig() takes over a changed password though the manifest is the same", async () => {
  using folders = temporaryFolders();
  put(folders, example("mail/acme", "00"));
  using watched = watching(folders);
  project(folders.keysDir, example("mail/acme", "11").keys);
  await until("the configuration", () => watched.configs.length === 2);
  assert.equal(watched.configs[1]?.credentials[0]?.passwordMac, "11");
});

test("watchConfig() takes over a changed login at the egress proxies", async () => {
  using folders = temporaryFolders();
  const putLogin = (password: string): void => {
    const { config, keys } = example();
    const slot = { version: 1, credentials: [], dkim: [], proxyLogin: { username: "pods", password } };
    const withLogin = new Map([...keys, [slotFile("000"), gzipSync(canonicalJson(slot))]]);
    put(folders, { config, keys: withLogin });
  };
  putLogin("one");
  using watched = watching(folders);
  putLogin("one");
  putLogin("two");
  await until("the login", () => watched.configs.some(({ proxyLogin }) => proxyLogin?.password === "two"));
  assert.equal(watched.configs.length, 2);
});

test("watchConfig() hands the same configuration over once, however often it is swapped", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders);
  put(folders, example());
  put(folders, example("mail/other"));
  await until("the configuration", () => watched.configs.some((config) => config.tenants.has("mail/other")));
  assert.equal(watched.configs.length, 2);
});

test("watchConfig() outlives folders that go away and come back", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders);
  rmSync(folders.configDir, { recursive: true });
  await until("the issues", () => watched.issues.length > 0);
  assert.equal(watched.configs.length, 1);
});

test("watchConfig() stops at the signal", async () => {
  using folders = temporaryFolders();
  put(folders, example());
  using watched = watching(folders, 5);
  watched.controller.abort();
  put(folders, example("mail/other"));
  // Another one sees the swap: the first had its time as well.
  using later = watching(folders, 5);
  project(folders.configDir, new Map([["pool.json", '{"version":7}']]));
  await until("the issues", () => later.issues.length === 1);
  assert.equal(watched.configs.length, 1);
  assert.equal(watched.issues.length, 0);
});
