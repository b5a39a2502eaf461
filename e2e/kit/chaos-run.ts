/** `npm run chaos` as a test runs it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../chaos/main.ts", import.meta.url));

/** Asserts that it ends with 0. @returns its page, which is shown as diagnostics too */
export async function runChaos(t: TestContext, args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let page = "";
  let story = "";
  child.stdout.on("data", (part: Buffer) => (page += part.toString()));
  child.stderr.on("data", (part: Buffer) => (story += part.toString()));
  const code = await new Promise((resolve) => child.once("exit", resolve));
  for (const line of page.trimEnd().split("\n")) t.diagnostic(line);
  assert.equal(code, 0, `${story}\n${page}`);
  return page;
}
