/** Which file holds which tenant: slots, names and sizes of the files a pod reads. Pure, never fails. */
import { hash32 } from "#crds/values/hash.ts";
import { keySlots, tenantSlots } from "./schema.ts";

export const manifestFile = "pool.json";

/** Limit of one file as it is stored: a ConfigMap or Secret holds 1 MiB (decisions.md 5). */
export const maxFileBytes = 700 * 1024;

/** Limit of a slot's text: what a pod is willing to inflate. */
export const maxSlotTextBytes = 16 * 1024 * 1024;

/** Two digits. */
export function tenantSlotOf(tenantId: string): string {
  return String(hash32(tenantId) % tenantSlots).padStart(2, "0");
}

/** Three digits. */
export function keySlotOf(tenantId: string): string {
  return String(hash32(tenantId) % keySlots).padStart(3, "0");
}

/** Name of a slot's file, of either kind: the numbers' widths keep them apart in one projected volume. */
export function slotFile(slot: string): string {
  return `${slot}.json.gz`;
}

/** The edition that a slot was last written in; in its ConfigMap. */
export function editionFile(slot: string): string {
  return `${slot}.edition.json`;
}

export const editionFilePattern = /^[0-9]{2}\.edition\.json$/;
export const tenantSlotFile = /^([0-9]{2})\.json\.gz$/;
export const keySlotFile = /^([0-9]{3})\.json\.gz$/;
