import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { CompiledPool } from "#operator/compile/compile.ts";
import { followEdits } from "#operator/local/edits.ts";
import type { PoolRunner } from "#operator/local/pool-runner.ts";
import { until } from "#test/kit/until.ts";

test("an edit that one pool cannot take over is taken over by the others all the same", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-edits-"));
  const pools = ["mail/a", "mail/b"].map((pool) => ({ pool, manifest: { generation: 2 } }) as CompiledPool);
  const complaints: string[] = [];
  const applied: string[] = [];
  const runner = (pool: string, apply: () => Promise<boolean>): PoolRunner =>
    ({ pool, apply }) as unknown as PoolRunner;
  const end = followEdits([folder], {
    options: {
      json: false,
      print: (line) => void applied.push(line),
      complain: (line) => void complaints.push(line),
    },
    config: { pools: () => pools, reload: async () => pools },
    runners: [
      runner("mail/a", () => Promise.reject(new Error("Cannot listen on 127.0.0.1 port 9465"))),
      runner("mail/b", async () => true),
    ],
    seen: "what was there before",
    onTaken: () => {},
  });
  try {
    await writeFile(join(folder, "pool.yaml"), "");
    await until("the edit to be looked at", () => complaints.length > 0);
    await end();
    assert.match(
      complaints.join("\n"),
      /^pool mail\/a cannot take over .*: Cannot listen on 127\.0\.0\.1 port 9465/,
    );
    assert.ok(applied.includes("pool mail/b takes over generation 2"), applied.join("\n"));
  } finally {
    await end();
    await rm(folder, { recursive: true });
  }
});
