/** Takes a cluster down, whatever state it is in: its own processes, mounts, namespaces, cgroups, files. Does nothing where nothing is. */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { until } from "#test/kit/until.ts";
import { processesIn, removeCgroup } from "./cgroup.ts";
import type { Place } from "./place.ts";
import { end, output, processId, recordedNames, stopProgram } from "./processes.ts";

export async function takeDown(place: Place): Promise<void> {
  const { folder, name } = place;
  const names = await recordedNames(folder);
  // First who would start something again; the last is what others are reached through.
  const order = ["kubelet", "kube-proxy", "containerd"];
  for (const first of order.filter((one) => names.includes(one))) await stopProgram(folder, first);
  await killContainers(place);
  await Promise.all(names.map((one) => stopProgram(folder, one)));
  await unmountBelow(folder);
  await output(["ip", "netns", "delete", name]).catch(() => {});
  await forgetCniResults(name);
  await until("the pods' cgroups to be empty", async () => (await processesIn(name)).length === 0);
  await removeCgroup(name);
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** The pods' processes are in the cluster's cgroup; containerd's shims outside it name the cluster's socket. */
async function killContainers({ folder, name }: Place): Promise<void> {
  const shims = await shimsOf(folder);
  const pods = await processesIn(name);
  for (const pid of [...shims, ...pods]) {
    const id = await processId(pid);
    await end(id, "SIGKILL");
  }
}

async function shimsOf(folder: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const found: number[] = [];
  for (const pid of pids) {
    const words = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (
      words[0]?.endsWith("/containerd-shim-runc-v2") === true &&
      words.some((word) => word.startsWith(`${folder}/`))
    )
      found.push(pid);
  }
  return found;
}

/** Innermost first: a later line of /proc/mounts may be mounted on an earlier one. */
async function unmountBelow(folder: string): Promise<void> {
  const lines = (await readFile("/proc/mounts", "utf8")).split("\n");
  const points = lines
    .map((line) => line.split(" ")[1] ?? "")
    .filter((point) => point.startsWith(`${folder}/`));
  for (const point of points.toReversed()) await output(["umount", "--lazy", point]).catch(() => {});
}

/** libcni keeps what it did in a folder of the machine's, by the name of the network. */
async function forgetCniResults(name: string): Promise<void> {
  for (const folder of ["/var/lib/cni/results", "/var/lib/cni/cache/results"])
    for (const file of await readdir(folder).catch(() => []))
      if (file.startsWith(`${name}-`)) await rm(join(folder, file), { force: true });
}
