/** A control group that counts the CPU time of processes that come and go. Throws Error when none can be made (not root, no cgroup). */
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface ControlGroup {
  /** A process writes 0 or its id there to join; its children are born into it. */
  readonly procsFile: string;
  cpuSeconds(): number;
  pids(): readonly number[];
  /** Kills what still runs, and removes it. */
  end(): Promise<void>;
}

/** Where groups may be made, and the file that says their CPU time: version 1, then hybrid and plain version 2. */
const places = [
  { root: "/sys/fs/cgroup/cpuacct", file: "cpuacct.usage" },
  { root: "/sys/fs/cgroup/unified", file: "cpu.stat" },
  { root: "/sys/fs/cgroup", file: "cpu.stat" },
] as const;
const killPollMs = 50;

export function createControlGroup(name: string): ControlGroup {
  const failures: string[] = [];
  for (const { root, file } of places) {
    const folder = join(root, `mailboat-bench-${name}-${process.pid}`);
    try {
      mkdirSync(folder, { recursive: true });
      const read = (): number => cpuSecondsIn(readFileSync(join(folder, file), "utf8"));
      read();
      return groupOf(folder, read);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(
    `Cannot count the CPU time of ${name}: expected a control group that can be made (as root), got ${failures.join("; ")}`,
  );
}

function groupOf(folder: string, cpuSeconds: () => number): ControlGroup {
  const procsFile = join(folder, "cgroup.procs");
  const pids = (): number[] =>
    readFileSync(procsFile, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map(Number);
  return {
    procsFile,
    cpuSeconds,
    pids,
    async end() {
      for (let left = pids(); left.length > 0; left = pids()) {
        for (const pid of left) kill(pid);
        await delay(killPollMs);
      }
      rmdirSync(folder);
    },
  };
}

function cpuSecondsIn(text: string): number {
  const microseconds = /^usage_usec (\d+)/m.exec(text)?.[1];
  return microseconds === undefined ? Number(text) / 1e9 : Number(microseconds) / 1e6;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Ended by itself.
  }
}
