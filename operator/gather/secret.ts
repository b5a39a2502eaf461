/** A Secret's manifest → its decoded values, or issues that never quote one. Pure. */
import { z } from "zod";
import { metadataSchema } from "#crds/api/v1alpha1/metadata.ts";
import type { SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import type { Issue, Parsed } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";

/** What the API server allows for all values of a Secret together. */
const maxSecretBytes = 1024 * 1024;

const values = z.record(z.string().max(253), z.string().max(2 * maxSecretBytes)).nullish();

const secretSchema = z.strictObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Secret"),
  metadata: metadataSchema,
  type: z.string().max(256).optional(),
  immutable: z.boolean().optional(),
  data: values,
  stringData: values,
});

/** `stringData` wins over `data`, as in the API server. */
export function parseSecret(input: unknown, source: string): Parsed<SecretResource> {
  const parsed = parseBy(secretSchema, input);
  if (!parsed.ok) return { ok: false, issues: parsed.issues.map(withoutValue) };
  const { metadata, data, stringData } = parsed.value;
  const decoded = new Map<string, Uint8Array>();
  const issues: Issue[] = [];
  for (const [key, text] of Object.entries(data ?? {})) {
    const bytes = bytesOf(text);
    if (bytes === undefined) issues.push({ where: `data.${key}`, expected: "base64", got: "something else" });
    else decoded.set(key, bytes);
  }
  for (const [key, text] of Object.entries(stringData ?? {})) decoded.set(key, Buffer.from(text, "utf8"));
  const size = [...decoded.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  if (size > maxSecretBytes)
    issues.push({ where: "data", expected: `at most ${maxSecretBytes} bytes`, got: `${size} bytes` });
  return issues.length > 0 ? { ok: false, issues } : { ok: true, value: { source, metadata, data: decoded } };
}

function bytesOf(text: string): Uint8Array | undefined {
  // `kubectl` and editors wrap long values.
  const bare = text.replaceAll(/\s/g, "");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(bare) || bare.length % 4 !== 0) return undefined;
  return Buffer.from(bare, "base64");
}

function withoutValue(issue: Issue): Issue {
  return /^(data|stringData)\b/.test(issue.where) ? { ...issue, got: "something else" } : issue;
}
