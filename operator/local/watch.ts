/** Tells when files or anything below folders changed, once things have settled. Watching that fails is reported, not fatal. */
import { type FSWatcher, readdirSync, statSync, watch } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

export interface WatchOptions {
  readonly paths: readonly string[];
  readonly quietMs: number;
  onChange(): void;
  onError(error: Error): void;
}

/** As deep as resources are read. */
const maxDepth = 16;
const maxFolders = 5000;

/** @returns what ends the watching */
export function watchPaths({ paths, quietMs, onChange, onError }: WatchOptions): () => void {
  let timer: NodeJS.Timeout | undefined;
  const watchers = new Map<string, FSWatcher>();

  const changed = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // There may be new folders.
      for (const path of paths) watchBelow(resolve(path), 0);
      onChange();
    }, quietMs);
  };

  // Folders one by one, not Node's `recursive`, which on Linux misses writes to files it has seen before. And folders,
  // not files: editors write a new file and rename it over the old one.
  const watchFolder = (folder: string, isMeant: (file: string | null) => boolean): void => {
    if (watchers.has(folder) || watchers.size >= maxFolders) return;
    try {
      const watcher = watch(folder, (_event, file) => {
        if (isMeant(file)) changed();
      });
      watchers.set(folder, watcher);
      watcher.on("error", onError).on("close", () => watchers.delete(folder));
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  };

  const watchBelow = (path: string, depth: number): void => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() !== true) {
      if (depth === 0) watchFolder(dirname(path), (file) => file === null || file === basename(path));
      return;
    }
    watchFolder(path, () => true);
    if (depth === maxDepth) return;
    for (const entry of readdirSync(path, { withFileTypes: true }))
      if (entry.isDirectory() && !entry.name.startsWith(".")) watchBelow(join(path, entry.name), depth + 1);
  };

  for (const path of paths) watchBelow(resolve(path), 0);
  return () => {
    clearTimeout(timer);
    for (const watcher of watchers.values()) watcher.close();
  };
}
