import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { compile } from "#operator/compile/compile.ts";
import type { CompiledPool } from "#operator/compile/compile.ts";
import { documentsOf } from "#operator/gather/documents.ts";
import { gatherResources } from "#operator/gather/resources.ts";

const root = join(import.meta.dirname, "../../golden/compile");
const isUpdate = process.env["UPDATE_GOLDEN"] === "1";

function outputs(input: string): { config: string; status: string } {
  const { documents, issues } = documentsOf("in.yaml", input);
  const gathered = gatherResources(documents);
  const compiled = compile(gathered.snapshot, { generation: 7 });
  const texts = [...issues, ...gathered.issues, ...compiled.issues].map(formatIssue);
  return {
    config: `${JSON.stringify(JSON.parse(canonicalJson(compiled.pools.map(plain))), null, 1)}\n`,
    status: stringify({ statuses: compiled.statuses, issues: texts }, { lineWidth: 0 }),
  };
}

function plain({ pool, manifest, tenantSlots, keySlots }: CompiledPool): object {
  return {
    pool,
    manifest,
    tenantSlots: Object.fromEntries(tenantSlots),
    keySlots: Object.fromEntries(keySlots),
  };
}

function expectFile(path: string, text: string): void {
  if (isUpdate) writeFileSync(path, text);
  assert.ok(existsSync(path), `${path} is missing: UPDATE_GOLDEN=1 writes it`);
  assert.equal(text, readFileSync(path, "utf8"));
}

const cases = globSync("*/in.yaml", { cwd: root }).sort();

test("there are golden cases", () => {
  assert.ok(cases.length >= 12, String(cases.length));
});

for (const path of cases) {
  const folder = join(root, dirname(path));
  test(`compile() of ${basename(folder)} gives config.json and status.yaml`, () => {
    const { config, status } = outputs(readFileSync(join(folder, "in.yaml"), "utf8"));
    expectFile(join(folder, "config.json"), config);
    expectFile(join(folder, "status.yaml"), status);
  });
}
