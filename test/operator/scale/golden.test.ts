import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { run, storyOf, type Trace } from "./traces.ts";

const root = join(import.meta.dirname, "../../golden/scale");
const isUpdate = process.env["UPDATE_GOLDEN"] === "1";
const names = globSync("*.yaml", { cwd: root }).sort();

test("there are golden traces", () => assert.ok(names.length >= 6, String(names.length)));

for (const name of names)
  test(`decideScale() tells the story of ${name}`, () => {
    const trace = parse(readFileSync(join(root, name), "utf8")) as Trace;
    const story = storyOf(run(trace));
    const path = join(root, name.replace(/yaml$/, "txt"));
    if (isUpdate) writeFileSync(path, story);
    assert.equal(story, readFileSync(path, "utf8"));
  });
