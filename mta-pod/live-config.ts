/** The configuration a pod runs: the last good one, with those who want to hear of the next. Waits for the first, however long. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { watchConfig } from "./config/watcher.ts";
import type { PodOptions } from "./options.ts";
import type { Log } from "./runtime/log.ts";

export interface LiveConfig {
  current(): PodConfig;
  onChange(listener: (config: PodConfig) => void): void;
  onRefused(listener: () => void): void;
}

/** Rejects when `signal` aborts before there is one: a mounted volume may still be empty when the container starts. */
export function liveConfig(
  options: PodOptions,
  log: Log,
  { signal, onWaiting }: { readonly signal: AbortSignal; onWaiting(what: string): void },
): Promise<LiveConfig> {
  const changed: ((config: PodConfig) => void)[] = [];
  const refused: (() => void)[] = [];
  let current: PodConfig | undefined;
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(new Error("stopped before there was a configuration")), {
      once: true,
    });
    watchConfig({
      configDir: options.configDir,
      keysDir: options.keysDir,
      signal,
      onConfig(config) {
        const { generation } = config.manifest;
        log.info("configuration loaded", { generation, tenants: config.tenants.size });
        const isFirst = current === undefined;
        current = config;
        for (const listener of changed) listener(config);
        if (isFirst)
          resolve({
            current: () => current ?? config,
            onChange: (listener) => void changed.push(listener),
            onRefused: (listener) => void refused.push(listener),
          });
      },
      onIssues(issues) {
        for (const listener of refused) listener();
        const [first] = issues;
        if (current === undefined && first !== undefined) onWaiting(`a configuration: ${formatIssue(first)}`);
        log.error("configuration refused", { issues: issues.slice(0, 20).map(formatIssue) });
      },
    });
  });
}
