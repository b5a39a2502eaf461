import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { root, textOf, trackedFiles } from "./repository.ts";

const files = trackedFiles();
const folders = ["operator", "mta-pod", "crds", "charts", "test", "e2e", "bench"];
const maxLines = 300;

test("the top-level folders are the seven of the design, each with its README", () => {
  const found = new Set(files.filter((path) => path.includes("/")).map((path) => path.split("/")[0] ?? ""));
  for (const folder of found) assert.ok(folders.includes(folder) || folder.startsWith("."), folder);
  for (const folder of folders) assert.ok(existsSync(join(root, folder, "README.md")), `${folder}/README.md`);
});

test(`no source file is longer than ${maxLines} lines`, () => {
  const sources = files.filter(
    (path) => /\.(ts|mjs)$/.test(path) && !/^(test|e2e|bench)\//.test(path) && !path.includes("generated"),
  );
  const long = sources.filter((path) => textOf(path).split("\n").length - 1 > maxLines);
  assert.deepEqual(long, []);
});

test("every source file begins with what it decides or touches", () => {
  const sources = files.filter((path) => /^(operator|mta-pod|crds)\/.*\.(ts|mjs)$/.test(path));
  const bare = sources.filter((path) => !/^(#!.*\n)?\/[/*]/.test(textOf(path)));
  assert.deepEqual(bare, []);
});

test("no file names a developer's machine", () => {
  const words = ["/work/", "/home/", "/root/", "/Users/", "../shared/"];
  const own = "test/rules/layout.test.ts";
  const found: string[] = [];
  for (const path of files.filter((one) => one !== own && one !== "package-lock.json")) {
    const text = textOf(path);
    for (const word of words) if (text.includes(word)) found.push(`${path}: ${word}`);
  }
  assert.deepEqual(found, []);
});

test("package-lock.json names hashes, and no registry", () => {
  const lock = textOf("package-lock.json");
  assert.ok(!lock.includes('"resolved"'));
  assert.ok(!lock.includes("http://"));
  assert.ok(lock.includes('"integrity"'));
});

test("no test is left out or run alone", () => {
  const suites = files.filter((path) => /^(test|e2e)\/.*\.test\.ts$/.test(path));
  const odd = suites.filter((path) => /\b(test|describe|it)\.(only|skip|todo)\(/.test(textOf(path)));
  assert.deepEqual(odd, []);
});

test("the root README stays within 120 lines", () => {
  assert.ok(textOf("README.md").split("\n").length - 1 <= 120);
});

test("links between the READMEs lead somewhere", () => {
  const broken: string[] = [];
  for (const path of files.filter((one) => one.endsWith(".md")))
    for (const [, target = ""] of textOf(path).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      if (!existsSync(join(root, path, "..", target))) broken.push(`${path}: ${target}`);
    }
  assert.deepEqual(broken, []);
});
