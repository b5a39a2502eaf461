/** Kills the chart's operator again and again, as long as a test goes on. */
import { setTimeout as delay } from "node:timers/promises";
import { leaseName } from "#operator/reconcile/kinds.ts";
import { until } from "#test/kit/until.ts";
import { processesLike } from "./cgroup.ts";
import type { Cluster } from "./cluster.ts";
import { system } from "./mail-scene.ts";

export interface OperatorKiller {
  /** After the kill that is under way. */
  stop(): Promise<Killed>;
}

export interface Killed {
  /** Processes that got a SIGKILL. */
  readonly kills: number;
  /** How many were due in the time from start to stop. */
  readonly due: number;
  /** What went wrong on the way, an operator that was not ready again within a minute included. */
  readonly errors: readonly Error[];
}

const operatorLabel = "app.kubernetes.io/component=operator";
/** So long it is left to its work at least. */
const leadsMs = 2000;

/** kill -9 of the operator's process; then its pod goes too, as kubelet would wait longer each time before a restart. */
export function startOperatorKiller(cluster: Cluster, everyMs: number): OperatorKiller {
  const over = new AbortController();
  const errors: Error[] = [];
  const startedAt = performance.now();
  let kills = 0;
  const kill = async (): Promise<void> => {
    // One that never gets to work would be killed for nothing, and nothing would be done for as long as that goes on: a slow machine's is
    // killed when it leads again, which is 15 s after the death of the one before at the earliest.
    const rollOut = ["rollout", "status", "-n", system, "deployment/mailboat-operator", "--timeout=60s"];
    await cluster.kubectl(rollOut);
    await until("the operator to lead", () => isLed(cluster), 60_000);
    await delay(leadsMs);
    const running = async (): Promise<number[] | false> => {
      const pids = await operatorProcesses(cluster);
      return pids.length > 0 && pids;
    };
    for (const pid of await until("an operator to kill", running, 60_000)) if (killed(pid)) kills++;
    const all = ["delete", "pod", "-n", system, "-l", operatorLabel];
    await cluster.kubectl([...all, "--ignore-not-found", "--force", "--grace-period=0"]);
  };
  const running = (async () => {
    for (let next = startedAt + everyMs; ; next += everyMs) {
      const isOver = delay(Math.max(0, next - performance.now()), false, { signal: over.signal });
      if (await isOver.catch(() => over.signal.aborted)) return;
      await kill().catch((error: unknown) =>
        errors.push(error instanceof Error ? error : new Error(String(error))),
      );
    }
  })();
  return {
    async stop() {
      const due = Math.floor((performance.now() - startedAt) / everyMs);
      over.abort();
      await running;
      return { kills, due, errors };
    },
  };
}

/** A pod that is there holds the lease. */
async function isLed(cluster: Cluster): Promise<boolean> {
  const lease = cluster.get(["-n", system, `lease/${leaseName}`]) as Promise<{
    spec: { holderIdentity?: string };
  }>;
  const pods = cluster.get(["-n", system, "pods", "-l", operatorLabel]) as Promise<{
    items: { metadata: { name: string } }[];
  }>;
  const { holderIdentity } = (await lease).spec;
  return (await pods).items.some(({ metadata }) => metadata.name === holderIdentity);
}

async function operatorProcesses({ place }: Cluster): Promise<number[]> {
  return processesLike(place.name, (words) => words[1] === "operator/cli/main.ts" && words[2] === "operator");
}

/** False: it was gone already. */
function killed(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch (error) {
    if (Reflect.get(Object(error), "code") === "ESRCH") return false;
    throw error;
  }
}
