/** Settings of the whole machine that a kubelet changes: noted before the first cluster, put back after the last. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { clustersFolder } from "./place.ts";

const settings = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"];
const file = join(clustersFolder, "settings.json");

export async function keepSettings(): Promise<void> {
  const values = await Promise.all(
    settings.map((name) => readFile(`/proc/sys/${name}`, "utf8").catch(() => "")),
  );
  const known = Object.fromEntries(settings.map((name, index) => [name, values[index]?.trim() ?? ""]));
  // Of a second cluster at once: the first one's note stands.
  await writeFile(file, JSON.stringify(known), { flag: "wx" }).catch(() => {});
}

export async function restoreSettings(): Promise<void> {
  const text = await readFile(file, "utf8").catch(() => "{}");
  for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, string>))
    if (value !== "") await writeFile(`/proc/sys/${name}`, value).catch(() => {});
  await rm(file, { force: true });
}
