/** Says what the figures were measured on. Reads /proc and git; what cannot be read is left out. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus, release, totalmem } from "node:os";
import { promisify } from "node:util";

const run = promisify(execFile);

export async function describeMachine(): Promise<string> {
  const [first] = cpus();
  const parts = [
    `${cpus().length} × ${first?.model.trim() ?? "unknown CPU"}`,
    `${Math.round(totalmem() / 2 ** 30)} GB`,
    `Linux ${release()}`,
    `Node ${process.versions.node}`,
  ];
  const commit = await commitId();
  return [...parts, ...(commit === undefined ? [] : [`commit ${commit}`])].join(", ");
}

/** Over one, five and fifteen minutes. */
export async function loadAverage(): Promise<string> {
  const text = await readFile("/proc/loadavg", "utf8");
  return text.split(" ").slice(0, 3).join(" ");
}

async function commitId(): Promise<string | undefined> {
  try {
    const folder = import.meta.dirname;
    const { stdout: id } = await run("git", ["-C", folder, "rev-parse", "--short", "HEAD"]);
    const { stdout: changes } = await run("git", [
      "-C",
      folder,
      "status",
      "--porcelain",
      "--untracked-files=no",
    ]);
    return changes.trim() === "" ? id.trim() : `${id.trim()} with changes`;
  } catch {
    return undefined;
  }
}
