import assert from "node:assert/strict";
import { test } from "node:test";
import { scaleReasons } from "#operator/scale/types.ts";
import { firstColumn, textOf } from "#test/rules/repository.ts";

test("operator/README.md has every reason of the autoscaler in its table, with its meaning", () => {
  const document = textOf("operator/README.md");
  assert.deepEqual(firstColumn(document, "scaling reason"), Object.keys(scaleReasons));
  for (const [reason, meaning] of Object.entries(scaleReasons))
    assert.ok(document.includes(`| ${reason} | ${meaning} |`), reason);
});
