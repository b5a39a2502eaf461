/** Unknown → compiled configuration or issues: the compiler's self-check and the pod's loader are this one. Pure. */
import type { z } from "zod";
import type { Parsed } from "#crds/values/issue.ts";
import { describe, parseBy } from "#crds/values/zod-issue.ts";
import {
  editionSchema,
  keySlotSchema,
  manifestSchema,
  podConfigVersion,
  tenantSlotSchema,
} from "./schema.ts";
import type { Edition, KeySlot, Manifest, TenantSlot } from "./schema.ts";

export function parseManifest(input: unknown): Parsed<Manifest> {
  return parseVersioned(manifestSchema, input);
}

export function parseEdition(input: unknown): Parsed<Edition> {
  return parseVersioned(editionSchema, input);
}

export function parseTenantSlot(input: unknown): Parsed<TenantSlot> {
  return parseVersioned(tenantSlotSchema, input);
}

/** Issues never quote what a slot of keys holds: they end in logs. */
export function parseKeySlot(input: unknown): Parsed<KeySlot> {
  const parsed = parseVersioned(keySlotSchema, input);
  if (parsed.ok) return parsed;
  return { ok: false, issues: parsed.issues.map((issue) => ({ ...issue, got: "something else" })) };
}

/** The version first: of a document we cannot know, nothing else is worth saying. */
function parseVersioned<Schema extends z.ZodType>(schema: Schema, input: unknown): Parsed<z.output<Schema>> {
  const version: unknown =
    typeof input === "object" && input !== null ? Reflect.get(input, "version") : undefined;
  if (version === podConfigVersion || typeof input !== "object") return parseBy(schema, input);
  const expected = `version ${podConfigVersion} of the pod configuration`;
  return { ok: false, issues: [{ where: "version", expected, got: describe(version) }] };
}
