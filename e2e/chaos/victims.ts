/** Whom faults of pods hit: processes that live, and what each says to have under way just before. */
import { readFileSync } from "node:fs";
import { podStatus } from "#e2e/kit/pod-status.ts";
import type { Arena } from "./arena.ts";

export interface PodVictim {
  readonly name: string;
  readonly pid: number;
  /** Attempts from the first look at the entry to the acknowledged delete, as it said itself; undefined = it did not answer. */
  readonly inFlight: number | undefined;
  /** When it was asked, by `performance.now()`. */
  readonly askedAt: number;
}

/** One of those that live, by chance. What runs is told a little late. */
export async function pickPod(strike: {
  readonly arena: Arena;
  readonly random: () => number;
}): Promise<PodVictim | undefined> {
  const { local } = strike.arena;
  const { pids, pools } = await local.read();
  const pods = Object.entries(pids.pods).filter(([, pid]) => isLiving(pid));
  const [name, pid] = pods[Math.floor(strike.random() * pods.length)] ?? [];
  if (name === undefined || pid === undefined) return undefined;
  const askedAt = performance.now();
  const status = await podStatus(pools[0]?.metrics[Number(/\d+$/.exec(name)?.[0])] ?? "");
  return { name, pid, inFlight: status?.pod === name ? status.inFlight : undefined, askedAt };
}

/** Also false for one that has ended and was not waited for yet, which takes signals as if it lived. */
export function isLiving(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !isZombie(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

function isZombie(stat: string): boolean {
  return /^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

/** @returns whether there was a process to take it */
export function signalLiving(pid: number, name: NodeJS.Signals): boolean {
  if (!isLiving(pid)) return false;
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
