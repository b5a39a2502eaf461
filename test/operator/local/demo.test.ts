import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseEndpoint } from "#operator/local/endpoint.ts";
import { until } from "#test/kit/until.ts";

const launcher = fileURLToPath(new URL("../../../operator/cli/mailboat.mjs", import.meta.url));
const freePorts = ["smtp", "submission", "submissions", "http", "admin", "metrics"].flatMap((name) => [
  `--${name}-port`,
  "0",
]);

test("the demo delivers, defers and bounces real mail, tells it, and Ctrl-C ends all of it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mailboat-test-demo-"));
  const state = join(folder, "state");
  const child = spawn(process.execPath, [launcher, "local", "--demo", "--state", state, ...freePorts], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit").then(([code]) => code as unknown);
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => lines.push(line));
  try {
    const line = (pattern: RegExp, boundMs: number): Promise<RegExpExecArray> =>
      until(
        `${String(pattern)} in\n${lines.join("\n")}`,
        () => lines.map((text) => pattern.exec(text)).find((found) => found !== null),
        boundMs,
      );
    await line(/^ready smtp=127\.0\.0\.1:\d+ .* metrics=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+$/, 60_000);
    await line(
      /60 accepted, 48 delivered, \d+ deferred and tried again, 12 bounced, nothing left in the queue/,
      60_000,
    );
    const [, id = ""] = await line(/mailboat why ([0-9a-z]{26})/, 10_000);
    const why = spawnSync(process.execPath, [launcher, "why", id, "--state", state], { encoding: "utf8" });
    assert.equal(why.status, 0, why.stderr);
    assert.match(why.stdout, /received .*@bounce\.example[\s\S]*bounced .*550 5\.1\.1 no such user here/);
    const pids = parseEndpoint(await readFile(join(state, "endpoint.json"), "utf8"))?.pids;
    process.kill(-(child.pid ?? 0), "SIGINT");
    assert.equal(await exited, 0);
    for (const pid of [...Object.values(pids?.pods ?? {}), pids?.nats ?? 0])
      assert.throws(() => process.kill(pid, 0), `process ${pid} is left`);
  } catch (error) {
    const queue = spawnSync(process.execPath, [launcher, "queue", "ls", "--state", state], {
      encoding: "utf8",
    });
    throw new Error(`${String(error)}\nqueued by then:\n${queue.stdout}${queue.stderr}`, { cause: error });
  } finally {
    child.kill("SIGTERM");
    await exited;
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});
