import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { LuaFactory } from "wasmoon";
import { parse } from "yaml";
import { kinds } from "#crds/api/v1alpha1/kinds.ts";

/** As Argo CD's own repository has them: a file may be copied there as it is. */
const folder = join(import.meta.dirname, "../../charts/argo/resource_customizations/mailboat.dev/_");
const script = readFileSync(join(folder, "health.lua"), "utf8");

interface HealthTest {
  readonly healthStatus: { readonly status: string; readonly message: string };
  readonly inputPath: string;
}

const { tests } = parse(readFileSync(join(folder, "health_test.yaml"), "utf8")) as { tests: HealthTest[] };
const objectOf = (path: string): unknown => parse(readFileSync(join(folder, path), "utf8"));

/** Runs the script as Argo CD does: the object is the global `obj`, the answer what it returns. */
async function healthOf(object: unknown): Promise<unknown> {
  const engine = await new LuaFactory().createEngine({ enableProxy: false });
  try {
    engine.global.set("obj", object);
    return await engine.doString(script);
  } finally {
    engine.global.close();
  }
}

describe("health.lua", () => {
  for (const { healthStatus, inputPath } of tests)
    test(`${inputPath} is ${healthStatus.status}`, async () => {
      assert.deepEqual(await healthOf(objectOf(inputPath)), healthStatus);
    });

  test("every file of testdata is tested", () => {
    const files = readdirSync(join(folder, "testdata")).map((name) => `testdata/${name}`);
    assert.deepEqual(tests.map(({ inputPath }) => inputPath).toSorted(), files.toSorted());
  });

  test("testdata is what our schemas take", () => {
    for (const { inputPath } of tests) {
      const object = objectOf(inputPath) as { kind: string; spec: unknown; status?: unknown };
      const kind = kinds.find((one) => one.kind === object.kind);
      assert.ok(kind !== undefined, inputPath);
      kind.spec.parse(object.spec);
      if (object.status !== undefined) kind.status.parse(object.status);
    }
  });

  test("every answer that Argo CD knows of is given by some file", () => {
    const given = new Set(tests.map(({ healthStatus }) => healthStatus.status));
    assert.deepEqual([...given].toSorted(), ["Degraded", "Healthy", "Progressing", "Suspended"]);
  });
});
