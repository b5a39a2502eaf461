/** Follows the mounted files: hands over each new good configuration, reports a bad one once and keeps the last good. */
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { Issue } from "#crds/values/issue.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { folderSignature } from "./files.ts";
import { createLoader } from "./loader.ts";

export interface WatchOptions {
  readonly configDir: string;
  readonly keysDir: string;
  /** Called with the first good configuration and with each that differs from the one before. */
  onConfig(config: PodConfig): void;
  /**
   * Called when what is there cannot be used; again only when the issues are others. Beside a good one that is in force not before `settleMs`:
   * files of one edit arrive one by one, and for a moment they do not fit together.
   */
  onIssues(issues: readonly Issue[]): void;
  readonly signal: AbortSignal;
  /** How often the folders are looked at besides the file system's own notices; default 2 s. */
  readonly pollMs?: number;
  /** Default 5 s. */
  readonly settleMs?: number;
  /** ms; default the monotonic clock. Looked at when a load is refused. */
  readonly now?: () => number;
}

/** Loads at once (before it returns), then on every swap, until the signal. A refused load is tried again at each poll. */
export function watchConfig(options: WatchOptions): void {
  if (options.signal.aborted) return;
  const check = createCheck(options);
  check();
  let pending: NodeJS.Immediate | undefined;
  const onNotice = (): void => {
    // One swap is several notices, and notices come in the middle of a reader's turn.
    pending ??= setImmediate(() => {
      pending = undefined;
      check();
    });
  };
  const watchers = new Map<string, FSWatcher>();
  const watchAll = (): void => {
    for (const folder of new Set([options.configDir, options.keysDir]))
      if (!watchers.has(folder)) watchFolder(folder, watchers, onNotice);
  };
  watchAll();
  const timer = setInterval(() => {
    watchAll();
    check();
  }, options.pollMs ?? 2000);
  options.signal.addEventListener(
    "abort",
    () => {
      clearInterval(timer);
      clearImmediate(pending);
      for (const watcher of watchers.values()) watcher.close();
    },
    { once: true },
  );
}

function createCheck(options: WatchOptions): () => void {
  const load = createLoader(options.configDir, options.keysDir);
  let goodSignature = "";
  let current: PodConfig | undefined;
  let reported = "";
  let refusedSince: number | undefined;
  const { settleMs = 5000, now = () => performance.now() } = options;
  return () => {
    if (options.signal.aborted) return;
    const signature = `${folderSignature(options.configDir)}\n${folderSignature(options.keysDir)}`;
    if (signature === goodSignature) {
      refusedSince = undefined;
      return;
    }
    const loaded = load();
    if (!loaded.ok) {
      const refusedFor = now() - (refusedSince ??= now());
      if (current !== undefined && refusedFor < settleMs) return;
      const text = loaded.issues.map(formatIssue).join("\n");
      if (text !== reported) options.onIssues(loaded.issues);
      reported = text;
      return;
    }
    goodSignature = signature;
    reported = "";
    refusedSince = undefined;
    if (current !== undefined && isSame(current, loaded.config)) return;
    current = loaded.config;
    options.onConfig(loaded.config);
  };
}

/** The manifest's digest covers everything but the generation, the keys and the login at the proxies. */
function isSame(a: PodConfig, b: PodConfig): boolean {
  return (
    a.manifest.digest === b.manifest.digest &&
    a.manifest.generation === b.manifest.generation &&
    isSameList(a.credentials, b.credentials) &&
    isSameList(a.dkimKeys, b.dkimKeys) &&
    a.proxyLogin?.username === b.proxyLogin?.username &&
    a.proxyLogin?.password === b.proxyLogin?.password
  );
}

/** By identity: an unchanged file is not parsed again, so its keys are the very same objects. */
function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

/** Notices are a hint, the poll is the promise: a folder that cannot be watched is tried again at the next poll. */
function watchFolder(folder: string, watchers: Map<string, FSWatcher>, onNotice: () => void): void {
  try {
    const watcher = watch(folder, { persistent: false }, onNotice);
    watcher.on("error", () => {
      watcher.close();
      watchers.delete(folder);
    });
    watchers.set(folder, watcher);
  } catch {
    // Not there yet.
  }
}
