/** Writes configuration folders as a kubelet projects them: a dated folder behind `..data`, swapped by a rename. */
import {
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { canonicalJson, digestOf } from "#crds/pod-config/encode.ts";
import type { KeySlot, Manifest, TenantSlot } from "#crds/pod-config/schema.ts";
import { keySlotOf, slotFile, tenantSlotOf } from "#crds/pod-config/slots.ts";

export interface Folders extends Disposable {
  readonly configDir: string;
  readonly keysDir: string;
}

export function temporaryFolders(): Folders {
  const root = mkdtempSync(join(tmpdir(), "mailboat-config-"));
  const [configDir, keysDir] = [join(root, "config"), join(root, "keys")];
  mkdirSync(configDir);
  mkdirSync(keysDir);
  return { configDir, keysDir, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
}

let revision = 0;

export function project(folder: string, files: ReadonlyMap<string, string | Buffer>): void {
  const name = `..2026_${++revision}`;
  mkdirSync(join(folder, name));
  for (const [file, content] of files) writeFileSync(join(folder, name, file), content);
  let previous: string | undefined;
  try {
    previous = readlinkSync(join(folder, "..data"));
  } catch {
    // The first projection.
  }
  symlinkSync(name, join(folder, "..data_tmp"));
  renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
  if (previous !== undefined) rmSync(join(folder, previous), { recursive: true });
}

export interface Example {
  readonly config: Map<string, string | Buffer>;
  readonly keys: Map<string, string | Buffer>;
}

/** A pool with one tenant, one login and one selector. */
export function example(tenant = "mail/acme", password = "00"): Example {
  const slot: TenantSlot = {
    version: 1,
    tenants: [
      {
        id: tenant,
        state: "Active",
        weight: 1,
        domains: [{ name: "acme.example", dkim: [{ selector: "s1" }] }],
        credentials: [{ name: "app" }],
        limits: { recipientsPerMessage: 100, messageSizeBytes: 1_000_000 },
        streams: [{ name: "default", class: "transactional" }],
        retry: {},
      },
    ],
  };
  const keys: KeySlot = {
    version: 1,
    credentials: [{ tenant, credential: "app", username: "acme", passwordMac: password }],
    dkim: [{ tenant, domain: "acme.example", selector: "s1", algorithm: "ed25519", der: "AAAA" }],
  };
  const slotNumber = tenantSlotOf(tenant);
  const content = manifestContent({ [slotNumber]: digestOf(slot) });
  const manifest: Manifest = { ...content, generation: 3, digest: digestOf(content) };
  return {
    config: new Map<string, string | Buffer>([
      ["pool.json", canonicalJson(manifest)],
      [slotFile(slotNumber), gzipSync(canonicalJson(slot))],
    ]),
    keys: new Map([[slotFile(keySlotOf(tenant)), gzipSync(canonicalJson(keys))]]),
  };
}

export function manifestContent(slots: Record<string, string>): Omit<Manifest, "generation" | "digest"> {
  return {
    version: 1,
    pool: "mail/shared",
    hostname: "out.example.net",
    queue: { servers: ["nats://127.0.0.1:4222"], replicas: 1, shards: 8, maxBytesPerShard: 1_000_000 },
    trust: [],
    egress: { allowDestinations: [], sources: [{ name: "default", ehlo: "out.example.net", weight: 1 }] },
    rules: [],
    retry: { firstMs: 1000, maxMs: 2000, maxAgeMs: 3000 },
    drainTimeoutMs: 1000,
    slots,
  };
}
