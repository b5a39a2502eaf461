/** The compiled configuration's files → ConfigMaps and Secrets in fixed slots: an edit of one tenant rewrites one of each. Pure. */
import { keySlotFile, manifestFile, tenantSlotFile } from "#crds/pod-config/slots.ts";
import { child, childNames } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";

/** By file name, as `poolFiles` of operator/compile makes them. */
export interface PoolFiles {
  readonly config: ReadonlyMap<string, Uint8Array>;
  readonly keys: ReadonlyMap<string, Uint8Array>;
}

/** What a child holds: how the operator tells those that an uncompiled pool must keep. */
export const partLabel = "mailboat.dev/part";

/** One Secret per slot with content. */
export function keyObjects(pool: PoolIdentity, keys: PoolFiles["keys"]): KubeObject[] {
  return slotsIn(keys, keySlotFile).map(({ slot, file, bytes }) =>
    remembered(pool, bytes, () =>
      child(
        {
          pool,
          apiVersion: "v1",
          kind: "Secret",
          name: childNames.keySlot(pool.name, slot),
          labels: { [partLabel]: "keys" },
        },
        { type: "Opaque", data: encoded(file, bytes) },
      ),
    ),
  );
}

/** One ConfigMap per slot with content, then the manifest's, which names their digests. */
export function configObjects(pool: PoolIdentity, config: PoolFiles["config"]): KubeObject[] {
  const object = (name: string, content: object): KubeObject =>
    child({ pool, apiVersion: "v1", kind: "ConfigMap", name, labels: { [partLabel]: "config" } }, content);
  const slots = slotsIn(config, tenantSlotFile).map(({ slot, file, bytes }) =>
    remembered(pool, bytes, () =>
      object(childNames.configSlot(pool.name, slot), { binaryData: encoded(file, bytes) }),
    ),
  );
  const manifest = config.get(manifestFile);
  if (manifest === undefined) throw new TypeError(`Cannot build pool ${pool.name}: expected ${manifestFile}`);
  const text = Buffer.from(manifest).toString("utf8");
  return [...slots, object(childNames.config(pool.name), { data: { [manifestFile]: text } })];
}

/** Files that did not change are the very same bytes, and their object is then the very same: nobody compares it again. */
const known = new WeakMap<Uint8Array, { readonly uid: string; readonly object: KubeObject }>();

function remembered({ uid }: PoolIdentity, bytes: Uint8Array, make: () => KubeObject): KubeObject {
  const before = known.get(bytes);
  if (before?.uid === uid) return before.object;
  const object = make();
  known.set(bytes, { uid, object });
  return object;
}

function slotsIn(files: ReadonlyMap<string, Uint8Array>, pattern: RegExp) {
  return [...files]
    .flatMap(([file, bytes]) => {
      const slot = pattern.exec(file)?.[1];
      return slot === undefined ? [] : [{ slot: Number(slot), file, bytes }];
    })
    .sort((a, b) => a.slot - b.slot);
}

/** In base64 only while somebody reads it: the keys of 10,000 tenants would be kept twice. */
function encoded(file: string, bytes: Uint8Array): Readonly<Record<string, string>> {
  return {
    get [file]() {
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
    },
  };
}
