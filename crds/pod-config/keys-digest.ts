/** What a set of logins, DKIM keys and the login at the egress proxies is told by: the manifest's digest does not cover them. Pure; no key can be read off it. */
import { createHash } from "node:crypto";
import { canonicalJson } from "./encode.ts";
import type { CredentialKey, DkimKey, ProxyLogin } from "./schema.ts";

const digestBytes = 16;

type Key = CredentialKey | DkimKey | ProxyLogin;

/** A key is digested once as long as its object lives: an unchanged slot is not parsed again. */
const known = new WeakMap<Key, string>();

/**
 * 32 hex digits, whatever the order; "" for no keys. The XOR of the keys' own digests, so that one rotated key costs one
 * digest and not those of 10,000: it tells states of one pool apart, and is no proof against somebody who makes keys.
 */
export function keysDigestOf(
  credentials: readonly CredentialKey[],
  dkim: readonly DkimKey[],
  proxyLogin?: ProxyLogin,
): string {
  const logins = proxyLogin === undefined ? [] : [proxyLogin];
  if (credentials.length + dkim.length + logins.length === 0) return "";
  const sum = Buffer.alloc(digestBytes);
  for (const keys of [credentials, dkim, logins])
    for (const key of keys) {
      const digest = digestOfKey(key);
      for (let index = 0; index < digestBytes; index++)
        sum[index] = (sum[index] ?? 0) ^ digest.charCodeAt(index);
    }
  return sum.toString("hex");
}

/** A character a byte: a Buffer of its own takes 20 times as much. */
function digestOfKey(key: Key): string {
  const before = known.get(key);
  if (before !== undefined) return before;
  const digest = createHash("sha256").update(canonicalJson(key)).digest("latin1").slice(0, digestBytes);
  known.set(key, digest);
  return digest;
}
