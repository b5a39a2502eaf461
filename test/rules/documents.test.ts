import assert from "node:assert/strict";
import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rejectionReasons } from "#mta-pod/admit/refusal.ts";
import { postedFields } from "#mta-pod/http-in/message-schema.ts";
import { podUsage } from "#mta-pod/options.ts";
import { outcomeClasses } from "#mta-pod/settle/reply-rules.ts";
import { createMetrics } from "#mta-pod/telemetry/metrics.ts";
import { quietSources } from "#test/kit/metrics.ts";
import { firstColumn, root, textOf } from "./repository.ts";

const podDocument = textOf("mta-pod/README.md");

test("mta-pod/README.md has every metric in its table, with its labels, and no other", async () => {
  const { registry } = createMetrics(quietSources);
  const declared = (await registry.getMetricsAsJSON())
    .map(({ name }) => name)
    .filter((name) => name.startsWith("mailboat_"));
  assert.deepEqual(firstColumn(podDocument, "metric").toSorted(), declared.toSorted());
  const rows = podDocument.split("\n").filter((line) => line.startsWith("| `mailboat_"));
  for (const metric of registry.getMetricsAsArray()) {
    const name = String(Reflect.get(metric, "name"));
    const labels: unknown = Reflect.get(metric, "labelNames");
    if (!name.startsWith("mailboat_")) continue;
    const cell = (rows.find((row) => row.includes(`\`${name}\``)) ?? "").split("|")[2]?.trim();
    assert.equal(cell, Array.isArray(labels) ? labels.join(", ") : "", name);
  }
});

test("mta-pod/README.md has every option in its table, and no other", () => {
  const options = [...podUsage.matchAll(/--[a-z-]+/g)].map(([name]) => name);
  const listed = firstColumn(podDocument, "option").map((cell) => cell.split(" ")[0] ?? "");
  assert.deepEqual(listed.toSorted(), [...new Set(options)].toSorted());
});

test("mta-pod/README.md has every reason of a refusal in its table, and no other", () => {
  assert.deepEqual(firstColumn(podDocument, "reason").toSorted(), [...rejectionReasons].toSorted());
});

test("mta-pod/README.md has every field of a posted message in its table, and every path of the admin port", () => {
  assert.deepEqual(firstColumn(podDocument, "JSON field"), postedFields);
  const routes = [...textOf("mta-pod/http-in/admin.ts").matchAll(/server\.(get|post)[^(]*\(\s*"([^"]+)"/g)];
  const paths = routes.map(([, method = "", path = ""]) => `${method.toUpperCase()} ${path}`);
  assert.ok(paths.length >= 10);
  assert.deepEqual(firstColumn(podDocument, "admin path").toSorted(), paths.toSorted());
});

test("mta-pod/README.md names every class of a reply", () => {
  const missing = outcomeClasses.filter((name) => !podDocument.includes(`\`${name}\``));
  assert.deepEqual(missing, []);
});

test("the files that a README's tables of concepts name exist", () => {
  const missing: string[] = [];
  for (const folder of ["operator", "mta-pod", "crds"]) {
    const rows = textOf(`${folder}/README.md`)
      .split("\n")
      .filter((line) => line.startsWith("|"));
    for (const row of rows)
      for (const [, path = ""] of row.matchAll(/`([\w./-]+\.(?:ts|mjs|yaml)|[\w-]+\/)`/g))
        if (!existsSync(join(root, folder, path)) && !existsSync(join(root, path)))
          missing.push(`${folder}/README.md: ${path}`);
  }
  assert.deepEqual(missing, []);
});

test("mta-pod/README.md and operator/README.md name every room", () => {
  for (const folder of ["mta-pod", "operator"]) {
    const document = textOf(`${folder}/README.md`);
    const rooms = globSync("*/", { cwd: join(root, folder) }).map((room) => room.replace(/\/$/, ""));
    for (const room of rooms)
      if (existsSync(join(root, folder, room)) && !room.includes("."))
        assert.ok(document.includes(`\`${room}/\``), `${folder}/${room}`);
  }
});
