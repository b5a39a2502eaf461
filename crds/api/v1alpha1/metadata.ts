/** Names of the group and what every resource carries besides its spec. Pure. */
import { z } from "zod";
import { itemName, objectName } from "./fields.ts";

export const group = "mailboat.dev";
export const version = "v1alpha1";
export const apiVersion = `${group}/${version}`;

/** The part of ObjectMeta that we read; the rest is the API server's. */
export const metadataSchema = z.looseObject({
  name: objectName,
  namespace: itemName.default("default"),
  uid: z.string().max(128).optional(),
  generation: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  /** RFC 3339 in UTC: sorts as text. `kubectl create --dry-run` writes null. */
  creationTimestamp: z.string().max(64).nullish(),
  deletionTimestamp: z.string().max(64).nullish(),
});

export type Metadata = z.infer<typeof metadataSchema>;

/** `namespace/name`: identity everywhere (decisions.md 1). */
export function identityOf(metadata: Pick<Metadata, "namespace" | "name">): string {
  return `${metadata.namespace}/${metadata.name}`;
}
