/** The repository's files as the laws of test/rules see them: those git tracks, as they are in the working tree. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");

/** Paths relative to the root. Of a copy without git (an archive) there is nothing to say: []. */
export function trackedFiles(): string[] {
  if (!existsSync(join(root, ".git"))) return [];
  const listed = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" });
  return listed.split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
}

export function textOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** The first cells, without their backticks, of the rows below the table head that starts with `head`. */
export function firstColumn(markdown: string, head: string): string[] {
  const lines = markdown.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`));
  if (start < 0) throw new Error(`Cannot read a table: expected one with the head "${head}", got none`);
  const cells: string[] = [];
  for (const line of lines.slice(start + 2)) {
    if (!line.startsWith("|")) break;
    cells.push((line.split("|")[1] ?? "").trim().replaceAll("`", ""));
  }
  return cells;
}
