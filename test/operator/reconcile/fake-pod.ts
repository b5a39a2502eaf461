/** What stands in a test for a pod of ours: it loads what is mounted with the real loader, and reports what it runs. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { keysDigestOf } from "#crds/pod-config/keys-digest.ts";
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { PodReport } from "#crds/wire/pod-report.ts";
import { loadConfig } from "#mta-pod/config/loader.ts";

/** A ConfigMap or Secret, as the API server has it. */
export interface Mounted {
  readonly kind: "ConfigMap" | "Secret";
  readonly data?: unknown;
  readonly binaryData?: unknown;
}

/** Projects all of them into `folder` as a kubelet does, and loads it. undefined = they do not fit together. */
export function loadMounted(folder: string, objects: readonly Mounted[]): PodConfig | undefined {
  rmSync(folder, { recursive: true, force: true });
  const [config, keys] = [join(folder, "config"), join(folder, "keys")];
  for (const dir of [config, keys]) mkdirSync(dir, { recursive: true });
  for (const { kind, data, binaryData } of objects) {
    const isText = kind === "ConfigMap";
    const dir = isText ? config : keys;
    for (const [name, value] of filesIn(data))
      writeFileSync(join(dir, name), isText ? value : Buffer.from(value, "base64"));
    for (const [name, value] of filesIn(binaryData))
      writeFileSync(join(dir, name), Buffer.from(value, "base64"));
  }
  const loaded = loadConfig(config, keys);
  return loaded.ok ? loaded.config : undefined;
}

function filesIn(data: unknown): [string, string][] {
  return Object.entries((data ?? {}) as Record<string, string>);
}

/** Of a pod that has nothing to do. */
export function idleReport({ manifest, credentials, dkimKeys, proxyLogin }: PodConfig): PodReport {
  return {
    incarnation: "a",
    generation: manifest.generation,
    digest: manifest.digest,
    keysDigest: keysDigestOf(credentials, dkimKeys, proxyLogin),
    shards: [],
    queued: 0,
    oldestAt: null,
    sendable: 0,
    backlog: { messages: 0, oldestAt: null },
    busy: 0.1,
    refuses: false,
    tenants: {},
  };
}
