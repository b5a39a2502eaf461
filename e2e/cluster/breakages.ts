/** Ways to break an installation, each with its way back. */
import { basename } from "node:path";
import { processesLike } from "./cgroup.ts";
import type { Cluster } from "./cluster.ts";
import { namespace, system } from "./mail-scene.ts";

export type Breakage = (cluster: Cluster) => Promise<() => Promise<unknown>>;

/** Its NATS does not exist: its pods wait, and say so. */
export const brokenPool: Breakage = async (cluster) => {
  await cluster.apply([
    {
      apiVersion: "mailboat.dev/v1alpha1",
      kind: "SendingPool",
      metadata: { namespace, name: "broken" },
      spec: {
        replicas: 1,
        hostname: "out.example.net",
        queue: { servers: ["nats://nowhere:4222"], replicas: 1 },
      },
    },
  ]);
  await cluster.kubectl([
    "wait",
    "-n",
    namespace,
    "--for=create",
    "deployment/mailboat-broken",
    "--timeout=30s",
  ]);
  return () => cluster.kubectl(["delete", "-n", namespace, "mpool/broken"]);
};

export const operatorAway: Breakage = async (cluster) => {
  const to = (count: number): Promise<string> =>
    cluster.kubectl(["scale", "-n", system, "deployment/mailboat-operator", `--replicas=${count}`]);
  await to(0);
  return async () => {
    await to(1);
    await cluster.kubectl([
      "rollout",
      "status",
      "-n",
      system,
      "deployment/mailboat-operator",
      "--timeout=60s",
    ]);
  };
};

/** Its processes stand still: connections stay open, and nothing is answered. */
export const natsSilent: Breakage = async ({ place }) => {
  const pids = await processesLike(place.name, ([program = ""]) => basename(program) === "nats-server");
  if (pids.length === 0) throw new Error("Cannot silence NATS: expected processes of it, found none");
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  return async () => {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  };
};

/** What it held is gone with it. */
export const natsAway: Breakage = async (cluster) => {
  await cluster.kubectl(["scale", "-n", system, "statefulset/mailboat-nats", "--replicas=0"]);
  await cluster.kubectl(["wait", "-n", system, "--for=delete", "pod/mailboat-nats-0", "--timeout=60s"]);
  return async () => {};
};
