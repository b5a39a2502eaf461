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
  const texts = new Map<string, Text>();
  const issues: Issue[] = [];
  for (const [key, wrapped] of Object.entries(data ?? {})) {
    const text = base64In(wrapped);
    if (text === undefined) issues.push({ where: `data.${key}`, expected: "base64", got: "something else" });
    else texts.set(key, { text, encoding: "base64" });
  }
  for (const [key, text] of Object.entries(stringData ?? {})) texts.set(key, { text, encoding: "utf8" });
  const size = sizeOf(texts);
  if (size > maxSecretBytes)
    issues.push({ where: "data", expected: `at most ${maxSecretBytes} bytes`, got: `${size} bytes` });
  if (issues.length > 0) return { ok: false, issues };
  return { ok: true, value: { source, metadata, data: decoded(texts, size) } };
}

interface Text {
  readonly text: string;
  readonly encoding: "base64" | "utf8";
}

function sizeOf(texts: ReadonlyMap<string, Text>): number {
  return [...texts.values()].reduce((sum, { text, encoding }) => sum + Buffer.byteLength(text, encoding), 0);
}

/** In memory of their own: a piece of Node's pool would keep all of its 64 KiB, and what is done with thousands of Secrets lasts. */
function decoded(texts: ReadonlyMap<string, Text>, size: number): Map<string, Uint8Array> {
  const all = Buffer.allocUnsafeSlow(size);
  let end = 0;
  const values = new Map<string, Uint8Array>();
  for (const [key, { text, encoding }] of texts) {
    const start = end;
    end += all.write(text, start, encoding);
    values.set(key, all.subarray(start, end));
  }
  return values;
}

function base64In(text: string): string | undefined {
  // `kubectl` and editors wrap long values.
  const bare = text.replaceAll(/\s/g, "");
  return /^[A-Za-z0-9+/]*={0,2}$/.test(bare) && bare.length % 4 === 0 ? bare : undefined;
}

function withoutValue(issue: Issue): Issue {
  return /^(data|stringData)\b/.test(issue.where) ? { ...issue, got: "something else" } : issue;
}
