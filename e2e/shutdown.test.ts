/** Orderly ends under load: SIGTERM of one pod, and Ctrl-C on everything. Nothing is lost and nothing is sent twice. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { until } from "#test/kit/until.ts";
import { assertNoneLost } from "./kit/audit.ts";
import { shardCount, startScene } from "./kit/scene.ts";

const messages = 12_000;

test("SIGTERM of a pod under load: exit 0, none lost, none doubled, the other owns all shards within 2 s", async (t) => {
  await using scene = await startScene({ pods: 2 });
  scene.sink.delay(50);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const pid = await scene.local.podPid(0);
  assert.ok(pid !== undefined);
  const toldAt = performance.now();
  process.kill(pid, "SIGTERM");
  await until(
    "the other pod to own all shards",
    async () => (await scene.status(1))?.shards.length === shardCount,
    30_000,
  );
  const handOverMs = performance.now() - toldAt;
  const end = await until(
    "the pod to end",
    () => scene.local.output.find((line) => line.includes(`process ${pid})`)),
    15_000,
  );
  t.diagnostic(`handed over after ${Math.round(handOverMs)} ms; ${end}`);
  assert.match(end, /exit code 0/);
  await scene.shared();
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  assert.equal(audit.doubled.length, 0);
  assert.equal(load.uncertain.size, 0, "open transactions are answered");
  assert.ok(handOverMs < 2000, `handed over after ${handOverMs} ms`);
});

test("Ctrl-C under load: exit 0, nothing left running, and the next start goes on without loss or doubles", async (t) => {
  await using scene = await startScene({ pods: 2 });
  scene.sink.delay(50);
  const load = scene.load({ messages });
  await until("a third to be accepted", () => load.accepted.size > messages / 3, 60_000);
  const { pids } = await scene.local.read();
  const all = [pids.runner, ...Object.values(pids.pods), pids.nats ?? 0];
  const group = await groupOf(pids.runner);
  // What a terminal does: the signal goes to every process of the group.
  for (const pid of all) if ((await groupOf(pid)) === group) process.kill(pid, "SIGINT");
  await until("everything to end", () => !all.some(isRunning), 30_000);
  assert.equal(await scene.local.stop(), 0);
  scene.sink.delay(0);
  await scene.restart();
  await load.done;
  await scene.drained([load]);
  const audit = assertNoneLost(t, [load], scene.sink);
  assert.equal(audit.doubled.length, 0);
  assert.equal(load.uncertain.size, 0, "open transactions are answered");
});

async function groupOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  // pid (name) state parent group: the name may hold spaces.
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[2];
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
