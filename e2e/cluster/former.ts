/**
 * The release before this one, chart and sources, out of former.tar.gz: what a user upgrades from. Its images are packed with this checkout's
 * packages and Node. A new release replaces the archive (see README.md); throws an Error when tar does.
 */
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ImageSource, root } from "./images/images.ts";
import { output } from "./processes.ts";

const archive = join(import.meta.dirname, "former.tar.gz");

export interface Former extends ImageSource {
  /** Folder of its chart. */
  readonly chart: string;
}

export async function unpackFormer(to: string): Promise<Former> {
  await mkdir(to, { recursive: true });
  await output(["tar", "-xzf", archive, "-C", to]);
  for (const name of ["node_modules", "package-lock.json"]) await symlink(join(root, name), join(to, name));
  return { root: to, tag: "former", chart: join(to, "charts", "mailboat") };
}

/**
 * Takes a field away from a kind of the unpacked chart, as a release lacks it that came before the field did.
 * @throws Error when the kind has no such field
 */
export async function forgetField({ chart }: Former, plural: string, field: string): Promise<void> {
  const file = join(chart, "templates", "crds", `${plural}.yaml`);
  const lines = (await readFile(file, "utf8")).split("\n");
  const at = lines.findIndex((line) => line.trim() === `${field}:`);
  if (at < 0) throw new Error(`Cannot forget ${field} of ${plural}: expected it in ${file}`);
  const depth = (line: string): number => line.search(/\S/);
  const own = depth(lines[at] ?? "");
  const end = lines.findIndex((line, index) => index > at && depth(line) >= 0 && depth(line) <= own);
  await writeFile(file, lines.toSpliced(at, end - at).join("\n"));
}
