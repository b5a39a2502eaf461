/** A compiled pool → the files of its pods, by name: what ConfigMaps, Secrets and local mode's folders hold. Pure. */
import { gunzipSync, gzipSync } from "node:zlib";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import type { Edition, Manifest } from "#crds/pod-config/schema.ts";
import { manifestFile, maxSlotTextBytes, slotFile } from "#crds/pod-config/slots.ts";
import type { CompiledPool } from "./compile.ts";

export interface PoolFiles {
  /** The manifest and the tenant slots. */
  readonly config: Map<string, Buffer>;
  /** The key slots: secret. */
  readonly keys: Map<string, Buffer>;
}

/** Same configuration, same bytes. Write keys before slots and slots before the manifest. */
export function poolFiles(compiled: CompiledPool): PoolFiles {
  const config = packed(compiled.tenantSlots);
  config.set(manifestFile, Buffer.from(canonicalJson(compiled.manifest)));
  return { config, keys: packed(compiled.keySlots) };
}

/** What is written beside a slot that changes while the manifest stays where it is. */
export function editionText({ version, generation, digest, slots }: Manifest): string {
  return canonicalJson({ version, generation, digest, slots } satisfies Edition);
}

/** What `poolFiles` has packed into a slot's file. @throws when it is something else */
export function unpackedSlot(bytes: Uint8Array): unknown {
  return JSON.parse(gunzipSync(bytes, { maxOutputLength: maxSlotTextBytes }).toString("utf8"));
}

/** A slot that did not change is the very same object, and is packed once. */
const known = new WeakMap<object, Buffer>();

function packed(slots: ReadonlyMap<string, object>): Map<string, Buffer> {
  return new Map([...slots].map(([slot, value]) => [slotFile(slot), packedSlot(value)]));
}

function packedSlot(value: object): Buffer {
  // Copied: zlib's own answer is a piece of 64 KiB, which would be kept whole.
  const bytes = known.get(value) ?? Buffer.from(new Uint8Array(gzipSync(canonicalJson(value))).buffer);
  known.set(value, bytes);
  return bytes;
}
