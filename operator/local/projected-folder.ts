/** Writes a folder as kubelet projects a volume: readers see all of the old files or all of the new. Throws when the disk does. */
import {
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";

/** `..data` points to the folder with the files; each file is a link through it. */
const dataLink = "..data";

/**
 * Swaps the folder's files for these. Nothing is touched when they are the same already.
 * @returns whether something changed
 */
export async function writeProjected(dir: string, files: ReadonlyMap<string, Buffer>): Promise<boolean> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const current = await readlink(join(dir, dataLink)).catch(() => undefined);
  if (current !== undefined && (await holds(join(dir, current), files))) return false;
  const next = `..${new Date().toISOString().replaceAll(/[-:.TZ]/g, "_")}${process.hrtime.bigint() % 1_000_000n}`;
  await mkdir(join(dir, next), { mode: 0o700 });
  for (const [name, bytes] of files) await writeFile(join(dir, next, name), bytes, { mode: 0o600 });
  await rm(join(dir, `${dataLink}_tmp`), { force: true });
  await symlink(next, join(dir, `${dataLink}_tmp`));
  await rename(join(dir, `${dataLink}_tmp`), join(dir, dataLink));
  await linkFiles(dir, files);
  await removeOld(dir, [next, current]);
  return true;
}

async function holds(folder: string, files: ReadonlyMap<string, Buffer>): Promise<boolean> {
  const names = await readdir(folder).catch(() => []);
  if (names.length !== files.size) return false;
  for (const [name, bytes] of files) {
    const there = await readFile(join(folder, name)).catch(() => undefined);
    if (there === undefined || !there.equals(bytes)) return false;
  }
  return true;
}

async function linkFiles(dir: string, files: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const name of files.keys()) {
    const link = join(dir, name);
    const there = await lstat(link).catch(() => undefined);
    if (there === undefined) await symlink(join(dataLink, name), link);
  }
  for (const name of await readdir(dir))
    if (!name.startsWith("..") && !files.has(name)) await unlink(join(dir, name));
}

/** The one before the current stays: a reader may be in the middle of it. */
async function removeOld(dir: string, keep: readonly (string | undefined)[]): Promise<void> {
  for (const name of await readdir(dir))
    if (/^\.\.\d/.test(name) && !keep.includes(name))
      await rm(join(dir, name), { recursive: true, force: true });
}
