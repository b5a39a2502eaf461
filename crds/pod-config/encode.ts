/** Canonical text of compiled values: same input, same bytes, so that a digest means something. Pure, never fails. */
import { createHash } from "node:crypto";

/** JSON with sorted keys and without absent fields. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

/** SHA-256 in hex of the canonical text. */
export function digestOf(value: unknown): string {
  return digestOfText(canonicalJson(value));
}

/** The same for a text (or its bytes) that is canonical already. */
export function digestOfText(text: string | Uint8Array): string {
  return createHash("sha256").update(text).digest("hex");
}
