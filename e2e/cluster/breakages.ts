/** Ways to break an installation, each with its way back. */
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

/** What it held is gone with it. */
export const natsAway: Breakage = async (cluster) => {
  await cluster.kubectl(["scale", "-n", system, "statefulset/mailboat-nats", "--replicas=0"]);
  await cluster.kubectl(["wait", "-n", system, "--for=delete", "pod/mailboat-nats-0", "--timeout=60s"]);
  return async () => {};
};
