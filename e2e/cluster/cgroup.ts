/** The cgroup that all of a cluster's pods are below, in cgroups of version 1 and 2; also the way to find their processes. */
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

const mount = "/sys/fs/cgroup";

/** A group counts as one process beside those of the machine: its pods, two dozen, would starve behind a busy test. */
const weights: Readonly<Record<string, string>> = { "cpu.shares": "16384", "cpu.weight": "1600" };

export async function createCgroup(name: string): Promise<void> {
  const hierarchies = await hierarchiesOf();
  if (hierarchies.length === 1) await enableControllers(mount);
  for (const hierarchy of hierarchies) {
    const folder = join(hierarchy, name);
    await mkdir(folder, { recursive: true });
    if (hierarchy.endsWith("cpuset")) await inheritSets(hierarchy, folder);
    if (hierarchies.length === 1) await enableControllers(folder);
    for (const [file, weight] of Object.entries(weights))
      await writeFile(join(folder, file), weight, { flag: "r+" }).catch(() => {});
  }
}

/** Version 1 has one tree for each controller, version 2 one for all. */
async function hierarchiesOf(): Promise<string[]> {
  const isUnified = (await textOf(join(mount, "cgroup.controllers"))) !== "";
  if (isUnified) return [mount];
  return (await readdir(mount)).map((name) => join(mount, name));
}

async function enableControllers(folder: string): Promise<void> {
  const controllers = (await textOf(join(folder, "cgroup.controllers"))).trim().split(" ").filter(Boolean);
  for (const controller of controllers)
    await writeFile(join(folder, "cgroup.subtree_control"), `+${controller}`).catch(() => {});
}

/** A new cpuset of version 1 is empty, and nothing can be put into it. */
async function inheritSets(parent: string, folder: string): Promise<void> {
  for (const file of ["cpuset.cpus", "cpuset.mems"])
    await writeFile(join(folder, file), await textOf(join(parent, file))).catch(() => {});
}

/** Every process below it. */
export async function processesIn(name: string): Promise<number[]> {
  const found = new Set<number>();
  for (const hierarchy of await hierarchiesOf())
    for (const folder of await foldersBelow(join(hierarchy, name)))
      for (const line of (await textOf(join(folder, "cgroup.procs"))).split("\n"))
        if (line !== "") found.add(Number(line));
  return [...found];
}

/** Those of them whose command line is one that is looked for. */
export async function processesLike(
  name: string,
  is: (words: readonly string[]) => boolean,
): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await processesIn(name))
    if (is((await textOf(`/proc/${pid}/cmdline`)).split("\0"))) found.push(pid);
  return found;
}

/** Once no process is left in it. */
export async function removeCgroup(name: string): Promise<void> {
  for (const hierarchy of await hierarchiesOf())
    for (const folder of (await foldersBelow(join(hierarchy, name))).toReversed())
      await rmdir(folder).catch(() => {});
}

/** Itself and what is below, parents first. */
async function foldersBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return [];
  const below: string[] = [folder];
  for (const entry of entries)
    if (entry.isDirectory()) below.push(...(await foldersBelow(join(folder, entry.name))));
  return below;
}

async function textOf(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
