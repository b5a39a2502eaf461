/** Tells when files or anything below folders changed, once things have settled. Watching that fails is reported, not fatal. */
import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname, resolve } from "node:path";

export interface WatchOptions {
  readonly paths: readonly string[];
  readonly quietMs: number;
  onChange(): void;
  onError(error: Error): void;
}

/** @returns what ends the watching */
export function watchPaths({ paths, quietMs, onChange, onError }: WatchOptions): () => void {
  let timer: NodeJS.Timeout | undefined;
  const changed = (): void => {
    clearTimeout(timer);
    timer = setTimeout(onChange, quietMs);
  };
  const watchers: FSWatcher[] = [];
  for (const path of paths) {
    try {
      watchers.push(watchOne(resolve(path), changed).on("error", onError));
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  }
  return () => {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  };
}

function watchOne(path: string, changed: () => void): FSWatcher {
  if (statSync(path).isDirectory()) return watch(path, { recursive: true }, changed);
  // The folder, not the file: editors write a new file and rename it over the old one.
  const name = basename(path);
  return watch(dirname(path), (_event, file) => {
    if (file === name || file === null) changed();
  });
}
