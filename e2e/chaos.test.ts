/** A short `npm run chaos` with a fixed seed: kills, freezes, cuts and NATS faults at random; every id audited. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("chaos/main.ts", import.meta.url));

test("npm run chaos --minutes 1.2 --seed 6: nothing lost, no limit exceeded, doubles only of what was open", async (t) => {
  const child = spawn(process.execPath, [program, "--minutes", "1.2", "--seed", "6"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  let page = "";
  let story = "";
  child.stdout.on("data", (part: Buffer) => (page += part.toString()));
  child.stderr.on("data", (part: Buffer) => (story += part.toString()));
  const code = await new Promise((resolve) => child.once("exit", resolve));
  for (const line of page.trimEnd().split("\n")) t.diagnostic(line);
  assert.equal(code, 0, `${story}\n${page}`);
  assert.match(page, /\nshown: \d+ kills among \d+ faults, nothing lost/);
});
