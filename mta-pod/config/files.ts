/** Reads one of the folders a kubelet projects, as one moment saw it. A missing folder reads as empty; other I/O errors throw. */
import { readFileSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { maxFileBytes } from "#crds/pod-config/slots.ts";

/** Room for encodings that grow a little between operator and pod; beyond it a file is not ours. */
const maxReadBytes = 2 * maxFileBytes;

const attempts = 3;

export interface FolderFiles {
  readonly files: ReadonlyMap<string, Buffer>;
  /** Names of files that were left unread because of their size. */
  readonly tooLarge: readonly string[];
}

/**
 * The files that `isWanted`. A kubelet swaps the symlink `..data` to change all at once, so the link is resolved
 * first and everything is read behind it; a swap in between takes the old target away, which is tried again.
 */
export function readFolder(folder: string, isWanted: (name: string) => boolean): FolderFiles {
  for (let attempt = 1; ; attempt++) {
    try {
      return readOnce(targetOf(folder), isWanted);
    } catch (error) {
      if (!isMissing(error) || attempt === attempts) throw error;
    }
  }
}

/** Changes when the folder's content may have: the swap's target, else names, sizes and times. */
export function folderSignature(folder: string): string {
  try {
    const target = targetOf(folder);
    if (target === undefined) return "absent";
    if (target !== folder) return target;
    const stats = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => ({ name: entry.name, ...sizeAndTime(join(folder, entry.name)) }));
    return JSON.stringify(stats);
  } catch (error) {
    return `unreadable: ${String(error)}`;
  }
}

function sizeAndTime(path: string): { size: number; time: number } {
  const stat = statSync(path);
  return { size: stat.size, time: stat.mtimeMs };
}

function readOnce(target: string | undefined, isWanted: (name: string) => boolean): FolderFiles {
  const files = new Map<string, Buffer>();
  const tooLarge: string[] = [];
  for (const name of target === undefined ? [] : readdirSync(target).filter(isWanted).sort()) {
    const path = join(target ?? "", name);
    if (statSync(path).size > maxReadBytes) tooLarge.push(name);
    else files.set(name, readFileSync(path));
  }
  return { files, tooLarge };
}

/** The folder behind `..data`, else the folder itself; undefined when there is none. */
function targetOf(folder: string): string | undefined {
  try {
    return realpathSync(join(folder, "..data"));
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  try {
    return statSync(folder).isDirectory() ? folder : undefined;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return undefined;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
