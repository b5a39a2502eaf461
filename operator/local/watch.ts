/**
 * Tells when what is read of files and folders changed, once things have settled. The file system's notices are a hint, the poll is the
 * promise. Watching that fails is reported, not fatal.
 */
import { type FSWatcher, readdirSync, type Stats, statSync, watch } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { isResourceFile } from "#operator/gather/folder.ts";

export interface WatchOptions {
  readonly paths: readonly string[];
  readonly quietMs: number;
  /** `signatureOf(paths)` before they were read last: what was written since is a change. */
  readonly seen: string;
  onChange(): void;
  onError(error: Error): void;
  /** Runs `run` once after `ms`, keeping no process alive; the answer cancels. */
  after?(ms: number, run: () => void): () => void;
}

const pollMs = 2000;
/** Since the first notice: what is written again and again is told of all the same. */
const longestMs = 1500;
/** Of a core: with thousands of files it is looked more rarely. */
const pollShare = 0.02;
/** As deep as resources are read. */
const maxDepth = 16;
const maxFolders = 5000;

interface Watched {
  readonly watcher: FSWatcher;
  readonly identity: string;
}

/** @returns what ends the watching */
export function watchPaths({
  paths,
  quietMs,
  seen: before,
  onChange,
  onError,
  after = timer,
}: WatchOptions): () => void {
  const roots = new Set(paths.map((path) => resolve(path)));
  const watchers = new Map<string, Watched>();
  let folders: ReadonlySet<string> = new Set();
  let seen = before;
  let cancelQuiet: (() => void) | undefined;
  let cancelLongest: (() => void) | undefined;
  let cancelPoll: (() => void) | undefined;

  const settle = (): void => {
    cancelQuiet?.();
    cancelLongest?.();
    cancelQuiet = undefined;
    cancelLongest = undefined;
    watchAll();
    seen = signatureOf(paths);
    onChange();
  };
  const changed = (): void => {
    cancelQuiet?.();
    cancelQuiet = after(quietMs, settle);
    cancelLongest ??= after(longestMs, settle);
  };

  // A log beside the resources is no edit; a folder that is new is found by the poll. Of its own end a folder tells by its name.
  const isOfMatter = (folder: string, event: string, file: string | null): boolean => {
    if (file === null || roots.has(join(folder, file))) return true;
    if (!folders.has(folder)) return false;
    const isEnd = event === "rename" && file === basename(folder);
    return isEnd || isRead(file) || folders.has(join(folder, file));
  };

  // Folders one by one, not Node's `recursive`, which on Linux misses writes to files it has seen before. And folders,
  // not files: editors write a new file and rename it over the old one.
  const watchFolder = (folder: string): void => {
    // A watcher stays with the folder that it was made for, whatever has its name since.
    const identity = identityOf(look(folder));
    const known = watchers.get(folder);
    if (known?.identity === identity) return;
    known?.watcher.close();
    watchers.delete(folder);
    if (watchers.size >= maxFolders) return;
    try {
      const watcher = watch(folder, (event, file) => {
        if (isOfMatter(folder, event, file)) changed();
      });
      watchers.set(folder, { watcher, identity });
      watcher.on("error", onError);
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  };

  const watchAll = (): void => {
    folders = new Set(survey(roots).folders);
    const above = [...roots].filter((root) => !folders.has(root)).map((root) => dirname(root));
    const wanted = new Set([...folders, ...above]);
    for (const [folder, { watcher }] of watchers)
      if (!wanted.has(folder)) {
        watcher.close();
        watchers.delete(folder);
      }
    for (const folder of wanted) watchFolder(folder);
  };

  const poll = (): void => {
    const beganAt = performance.now();
    if (cancelQuiet === undefined && signatureOf(paths) !== seen) changed();
    cancelPoll = after(Math.max(pollMs, (performance.now() - beganAt) / pollShare), poll);
  };

  watchAll();
  poll();
  return () => {
    cancelQuiet?.();
    cancelLongest?.();
    cancelPoll?.();
    for (const { watcher } of watchers.values()) watcher.close();
  };
}

/** Another one as soon as a file or folder that is read is another one, or was written. */
export function signatureOf(paths: readonly string[]): string {
  return survey(new Set(paths.map((path) => resolve(path)))).marks.join("\n");
}

interface Survey {
  readonly folders: string[];
  readonly marks: string[];
}

function survey(roots: ReadonlySet<string>): Survey {
  const found: Survey = { folders: [], marks: [] };
  for (const root of roots) surveyBelow(root, 0, found);
  return found;
}

function surveyBelow(path: string, depth: number, found: Survey): void {
  const stat = look(path);
  if (stat === undefined) return;
  found.marks.push(`${path} ${identityOf(stat)}`);
  if (!stat.isDirectory()) return void found.marks.push(`${stat.size} ${stat.mtimeMs}`);
  found.folders.push(path);
  if (depth === maxDepth || found.folders.length >= maxFolders) return;
  for (const entry of entriesOf(path))
    if (isRead(entry.name) || (entry.isDirectory() && !isHidden(entry.name)))
      surveyBelow(join(path, entry.name), depth + 1, found);
}

/** Of a folder that is read. */
function isRead(file: string): boolean {
  return !isHidden(file) && isResourceFile(file);
}

function isHidden(name: string): boolean {
  return name.startsWith(".");
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    // Gone meanwhile, or not ours to read: whoever reads the resources says so.
    return [];
  }
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** With its birth: the number of an inode is soon another's. */
function identityOf(stat: Stats | undefined): string {
  return stat === undefined ? "" : `${stat.dev}:${stat.ino}:${stat.birthtimeMs}`;
}

function timer(ms: number, run: () => void): () => void {
  const running = setTimeout(run, ms);
  running.unref();
  return () => clearTimeout(running);
}
