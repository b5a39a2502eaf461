/** What a set of logins and DKIM keys is told by: the manifest's digest does not cover them. Pure; no key can be read off it. */
import { createHash } from "node:crypto";
import { canonicalJson } from "./encode.ts";
import type { CredentialKey, DkimKey } from "./schema.ts";

/** A key is digested once as long as its object lives: an unchanged slot is not parsed again. */
const known = new WeakMap<CredentialKey | DkimKey, Buffer>();

/**
 * 32 hex digits, whatever the order; "" for no keys. The XOR of the keys' own digests, so that one rotated key costs one
 * digest and not those of 10,000: it tells states of one pool apart, and is no proof against somebody who makes keys.
 */
export function keysDigestOf(credentials: readonly CredentialKey[], dkim: readonly DkimKey[]): string {
  if (credentials.length + dkim.length === 0) return "";
  const sum = Buffer.alloc(16);
  for (const keys of [credentials, dkim])
    for (const key of keys) {
      const digest = digestOfKey(key);
      for (let index = 0; index < sum.length; index++) sum[index] = (sum[index] ?? 0) ^ (digest[index] ?? 0);
    }
  return sum.toString("hex");
}

function digestOfKey(key: CredentialKey | DkimKey): Buffer {
  const before = known.get(key);
  if (before !== undefined) return before;
  const digest = createHash("sha256").update(canonicalJson(key)).digest().subarray(0, 16);
  known.set(key, digest);
  return digest;
}
