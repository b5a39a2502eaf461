import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isSame, startProgram, stopProgram } from "#e2e/cluster/processes.ts";
import { programFor } from "#test/kit/programs.ts";
import { until } from "../kit/until.ts";

/** Its first thread ends, another goes on: what the kernel shows of any process for some time after a kill. */
const headless = `
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
`;

test("a process whose first thread is dead lives until the last of them is", async (t) => {
  const python = programFor(t, "python3");
  if (python === undefined) return;
  const folder = await mkdtemp(join(tmpdir(), "mailboat-processes-"));
  try {
    const id = await startProgram(folder, { name: "headless", command: [python, "-c", headless] });
    const isZombie = async (): Promise<boolean> =>
      (await readFile(`/proc/${id.pid}/stat`, "utf8")).includes(") Z ");
    await until("its first thread to end", isZombie);
    assert.equal(await isSame(id), true);
    await stopProgram(folder, "headless");
    assert.equal(await isSame(id), false);
  } finally {
    await rm(folder, { recursive: true });
  }
});
