/** The cluster's network namespace: a bridge for the pods, with the node's address on it. Nothing leads out of it. */
import type { Place } from "./place.ts";
import { output } from "./processes.ts";

/** Interface names end after 15 characters; of a namespace's own, so one name will do. */
export const bridge = "pods0";

export async function createNetwork({ name, nodeIp }: Place): Promise<void> {
  await output(["ip", "netns", "add", name]);
  for (const command of [
    ["link", "set", "lo", "up"],
    ["link", "add", bridge, "type", "bridge"],
    ["addr", "add", `${nodeIp}/24`, "dev", bridge],
    ["link", "set", bridge, "up"],
    // kube-proxy's addresses are to be routed somewhere before they are rewritten.
    ["route", "add", "default", "dev", bridge],
  ])
    await output(["ip", "-n", name, ...command]);
}
