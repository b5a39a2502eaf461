import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createTransport } from "nodemailer";
import { until } from "#test/kit/until.ts";

const launcher = fileURLToPath(new URL("../../../operator/cli/mailboat.mjs", import.meta.url));

const started: ChildProcess[] = [];
after(() => {
  for (const { pid = 0, exitCode } of started) if (exitCode === null) process.kill(-pid, "SIGKILL");
});

/** Its exit code; not for ever, where it does not end. */
async function endOf(child: ChildProcess): Promise<number | null> {
  await until("the launcher to end", () => child.exitCode !== null || child.signalCode !== null);
  return child.exitCode;
}

/** The launcher in a process group of its own, as a shell starts it. */
function launch(...args: string[]): { child: ChildProcess; lines: string[]; exited: Promise<unknown> } {
  const child = spawn(process.execPath, [launcher, ...args], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    if (stream !== null) createInterface({ input: stream }).on("line", (line) => lines.push(line));
  return { child, lines, exited: once(child, "exit").then(([code]) => code as unknown) };
}

test("mailboat provider says where it listens, takes mail, and ends with 0 at Ctrl-C in its group", async () => {
  const { child, lines, exited } = launch("provider", "--port", "0", "--http-port", "0");
  const ready = await until("the ready line", () => lines.find((line) => line.startsWith("ready ")));
  const [, smtp = "", http = ""] = /smtp=127\.0\.0\.1:(\d+) http=(\S+)/.exec(ready) ?? [];
  const transport = createTransport({ host: "127.0.0.1", port: Number(smtp) });
  await transport.sendMail({ from: "a@b.example", to: "c@d.example", text: "t" });
  transport.close();
  const stats = (await (await fetch(`http://${http}/v1/stats`)).json()) as { total: { messages: number } };
  assert.equal(stats.total.messages, 1);
  process.kill(-(child.pid ?? 0), "SIGINT");
  assert.equal(await exited, 0);
});

test("mailboat provider on an address of IPv6 says it as a URL has it", async () => {
  const { child, lines } = launch("provider", "--bind", "::1", "--port", "0", "--http-port", "0");
  const ready = await until("the ready line", () => lines.find((line) => line.startsWith("ready ")));
  const [, http = ""] = /^ready smtp=\[::1\]:\d+ http=(\[::1\]:\d+)$/.exec(ready) ?? [];
  assert.equal((await fetch(`http://${http}/v1/stats`)).status, 200, ready);
  child.kill("SIGINT");
  assert.equal(await endOf(child), 0);
});

test("SIGINT to the launcher alone, as CI and process managers send it, stops the program", async () => {
  const { child, lines } = launch("provider", "--port", "0");
  await until("the ready line", () => lines.find((line) => line.startsWith("ready ")));
  child.kill("SIGINT");
  assert.equal(await endOf(child), 0);
});

test("SIGINT to the launcher of mailboat proxy alone or to its group stops the proxy in order", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-launcher-"));
  for (const key of ["username", "password"]) await writeFile(join(folder, key), "test");
  for (const sign of [1, -1]) {
    const options = ["--bind", "127.0.0.1", "--port", "0", "--metrics-port", "0"];
    const { child, lines } = launch("proxy", "--auth-dir", folder, ...options);
    await until("the ready line", () => lines.find((line) => line.startsWith('{"ready":true')));
    process.kill(sign * (child.pid ?? 0), "SIGINT");
    assert.equal(await endOf(child), 0);
  }
  await rm(folder, { recursive: true });
});

test("mailboat pod --help and mailboat proxy --help print their usage on standard output and end with 0", () => {
  for (const name of ["pod", "proxy"]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, name, "--help"], {
      encoding: "utf8",
    });
    assert.deepEqual([status, stderr], [0, ""]);
    assert.match(stdout, new RegExp(`^usage: mailboat ${name} --`));
  }
});

test("mailboat pod hands its arguments to the pod and ends with the pod's exit code", async () => {
  const { lines, exited } = launch("pod", "--no-such-option");
  assert.equal(await exited, 2);
  assert.match(lines.join("\n"), /usage: mailboat pod --config DIR/);
});
