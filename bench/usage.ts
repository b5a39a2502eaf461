/** CPU time, memory and written bytes of processes, from /proc. Throws Error where there is no /proc or no such process. */
import { readFileSync } from "node:fs";

export interface Usage {
  /** User and system time of all threads, those that ended included. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly peakResidentBytes: number;
  /** Handed to the file system, whether or not it is on the disk yet. */
  readonly writtenBytes: number;
}

/** sysconf(_SC_CLK_TCK): 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;
const userTimeField = 11;
const systemTimeField = 12;
const startTimeField = 19;

export function usageOf(pid: number): Usage {
  const read = (file: string): string => readFileSync(`/proc/${pid}/${file}`, "utf8");
  const fields = statOf(pid);
  const ticks = Number(fields[userTimeField]) + Number(fields[systemTimeField]);
  const status = read("status");
  const kibibytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
  return {
    cpuSeconds: ticks / ticksPerSecond,
    residentBytes: kibibytes("VmRSS") * 1024,
    peakResidentBytes: kibibytes("VmHWM") * 1024,
    writtenBytes: Number(/^write_bytes: (\d+)/m.exec(read("io"))?.[1] ?? 0),
  };
}

/** Resident bytes, each shared page counted once among those that share it; 0 for a process that has just ended. */
export function proportionalBytes(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export function cpuSecondsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + usageOf(pid).cpuSeconds, 0);
}

/** Seconds since the process was started, to a hundredth. */
export function ageSeconds(pid: number): number {
  const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  return uptime - Number(statOf(pid)[startTimeField]) / ticksPerSecond;
}

/** The name stands in parentheses and may hold anything: the fields after it, counted from its end. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
