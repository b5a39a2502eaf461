/** The repository's files as the laws of test/rules see them: those git tracks, as they are in the working tree. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, statSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathOf } from "#test/kit/programs.ts";

export const root = join(import.meta.dirname, "../..");

/** What .gitignore names, and git's own. */
const ignored = /^(\.git|node_modules|\.mailboat|bench\/\.build|bench\/results)$|\.log$/;

/** Paths relative to the root. Without git, or of a copy that is no checkout: all but what it would ignore. */
export function trackedFiles(): string[] {
  const git = existsSync(join(root, ".git")) ? pathOf("git") : undefined;
  if (git === undefined) return walked();
  const listed = execFileSync(git, ["ls-files", "-z"], { cwd: root, encoding: "utf8" });
  return listed.split("\0").filter((path) => path !== "" && existsSync(join(root, path)));
}

/** By reading the folders. */
export function walked(): string[] {
  const found = globSync(["**", "**/.*", "**/.*/**"], { cwd: root, exclude: (path) => ignored.test(path) });
  return [...new Set(found)].filter((path) => statSync(join(root, path)).isFile());
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
