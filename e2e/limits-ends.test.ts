/** A short `npm run chaos -- --scenario limits`: a site's limits hold to the message, and are used, while pods end one after another. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("chaos/main.ts", import.meta.url));

for (const signal of ["SIGTERM", "SIGKILL"])
  test(`2 connections and 30 messages/s from 8 pods, of which one gets ${signal} every 10 s`, async (t) => {
    const args = ["--scenario", "limits", "--minutes", "0.7", "--seed", "1", "--signal", signal];
    const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    t.after(() => child.kill("SIGKILL"));
    let page = "";
    let story = "";
    child.stdout.on("data", (part: Buffer) => (page += part.toString()));
    child.stderr.on("data", (part: Buffer) => (story += part.toString()));
    const code = await new Promise((resolve) => child.once("exit", resolve));
    for (const line of page.trimEnd().split("\n")) t.diagnostic(line);
    assert.equal(code, 0, `${story}\n${page}`);
    assert.match(page, /\nshown: no limit exceeded/);
  });
