import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { stringify } from "yaml";
import type { KubeObject } from "#operator/resources/object.ts";
import { poolObjects } from "./pool-case.ts";

const root = join(import.meta.dirname, "../../golden/resources");
const isUpdate = process.env["UPDATE_GOLDEN"] === "1";

/** For people: long lists of slots by their ends, packed files by what is in them. */
function readable(objects: readonly KubeObject[]): unknown {
  return JSON.parse(JSON.stringify(objects), (key, value: unknown) => {
    if (key === "sources" && Array.isArray(value) && value.length > 8)
      return [...value.slice(0, 2), `... ${value.length - 3} of the kind`, value.at(-1)];
    return key.endsWith(".json.gz")
      ? JSON.parse(gunzipSync(Buffer.from(String(value), "base64")).toString())
      : value;
  });
}

const cases = globSync("*/in.yaml", { cwd: root }).sort();

test("there are golden cases", () => {
  assert.ok(cases.length >= 3, String(cases.length));
});

for (const path of cases) {
  const folder = join(root, dirname(path));
  test(`buildPool() of ${basename(folder)} gives objects.yaml`, () => {
    const objects = poolObjects(readFileSync(join(folder, "in.yaml"), "utf8"));
    const text = stringify(readable(objects), { lineWidth: 0, aliasDuplicateObjects: false });
    const golden = join(folder, "objects.yaml");
    if (isUpdate) writeFileSync(golden, text);
    assert.ok(existsSync(golden), `${golden} is missing: UPDATE_GOLDEN=1 writes it`);
    assert.equal(text, readFileSync(golden, "utf8"));
  });
}
