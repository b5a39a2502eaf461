/**
 * Which edition of its pool's configuration a ConfigMap was written in. It goes with whatever is written, and is no reason to write:
 * a slot that did not change keeps the edition that it has, so that the edit of one tenant rewrites its slot alone. Pure.
 */
import { editionFile, manifestFile, tenantSlotFile } from "#crds/pod-config/slots.ts";
import type { KubeObject } from "./object.ts";

/** The ConfigMap of everything but tenants, which has its edition inside. */
export function isManifest(object: KubeObject): boolean {
  return object.kind === "ConfigMap" && fileOf(object["data"], (file) => file === manifestFile) !== undefined;
}

export function isTenantSlot(object: KubeObject): boolean {
  return object.kind === "ConfigMap" && slotIn(object) !== undefined;
}

/** A tenant slot with the edition beside it; anything else as it is. */
export function inEdition(object: KubeObject, edition: string): KubeObject {
  const slot = object.kind === "ConfigMap" ? slotIn(object) : undefined;
  return slot === undefined ? object : { ...object, data: { [editionFile(slot)]: edition } };
}

/** What its hash covers: everything but the edition. */
export function lastingPart(object: KubeObject): unknown {
  if (!isManifest(object)) return object;
  const { [manifestFile]: text = "", ...files } = object["data"] as Record<string, string>;
  const {
    generation: _generation,
    digest: _digest,
    slots: _slots,
    ...rest
  } = JSON.parse(text) as object & {
    generation?: unknown;
    digest?: unknown;
    slots?: unknown;
  };
  return { ...object, data: { ...files, [manifestFile]: rest } };
}

function slotIn(object: KubeObject): string | undefined {
  const file = fileOf(object["binaryData"], (name) => tenantSlotFile.test(name));
  return file === undefined ? undefined : tenantSlotFile.exec(file)?.[1];
}

function fileOf(files: unknown, isWanted: (name: string) => boolean): string | undefined {
  return typeof files === "object" && files !== null ? Object.keys(files).find(isWanted) : undefined;
}
