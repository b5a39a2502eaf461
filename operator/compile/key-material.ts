/** A private key as users keep it → PKCS #8 DER, for DKIM. Pure but for node:crypto; refuses in words that never quote the key. */
import { createPrivateKey } from "node:crypto";
import type { KeyObject } from "node:crypto";

export type KeyMaterial =
  | { readonly ok: true; readonly algorithm: "rsa" | "ed25519"; readonly der: string }
  | { readonly ok: false; readonly got: string };

export const expectedKey = "an rsa key of 1024 to 4096 bits or an ed25519 key, unencrypted, in PEM or DER";

/** RFC 8410: PKCS #8 around the 32 bytes of an ed25519 seed. */
const seedPrefix = Buffer.from("302e020100300506032b657004220420", "hex");
const seedBytes = 32;
const pemOfSeed = /^\s*-----BEGIN PRIVATE KEY-----\s+([A-Za-z0-9+/]{64})\s+-----END PRIVATE KEY-----\s*$/;

/** RFC 8301 3.2 forbids less than 1024; above 4096 verifiers stop, and a signature costs as much as ten. */
const rsaBits = { min: 1024, max: 4096 };

/** Reading an rsa key costs 0.15 ms, and a compile reads all of them again: what was read is kept as long as the bytes are. */
const known = new WeakMap<Uint8Array, KeyMaterial>();

export function readKeyMaterial(bytes: Uint8Array): KeyMaterial {
  const before = known.get(bytes);
  if (before !== undefined) return before;
  const material = materialIn(bytes);
  known.set(bytes, material);
  return material;
}

function materialIn(bytes: Uint8Array): KeyMaterial {
  const value = Buffer.from(bytes);
  if (value.length === 0) return { ok: false, got: "an empty value" };
  const text = value.length <= 65_536 ? value.toString("latin1") : "";
  if (/ENCRYPTED/.test(text)) return { ok: false, got: "an encrypted key" };
  const seed = seedIn(value, text);
  if (seed !== undefined) return { ok: true, algorithm: "ed25519", der: seed.toString("base64") };
  const key = text.includes("-----BEGIN")
    ? keyOf(() => createPrivateKey(text))
    : (keyOfDer(value, "pkcs8") ?? keyOfDer(value, "pkcs1"));
  return key === undefined ? { ok: false, got: "something else" } : materialOf(key);
}

function materialOf(key: KeyObject): KeyMaterial {
  const algorithm = key.asymmetricKeyType;
  if (algorithm !== "rsa" && algorithm !== "ed25519")
    return { ok: false, got: `a key of type ${algorithm ?? "unknown"}` };
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (algorithm === "rsa" && (bits < rsaBits.min || bits > rsaBits.max))
    return { ok: false, got: `an rsa key of ${bits} bits` };
  const der = key.export({ type: "pkcs8", format: "der" });
  return { ok: true, algorithm, der: der.toString("base64") };
}

/** An ed25519 key in its usual forms, as PKCS #8: any 32 bytes are one, so OpenSSL, which takes 50 µs, has nothing to say about it. */
function seedIn(value: Buffer, text: string): Buffer | undefined {
  if (value.length === seedBytes) return Buffer.concat([seedPrefix, value]);
  if (/^\s*[A-Za-z0-9+/]{43}=\s*$/.test(text))
    return Buffer.concat([seedPrefix, Buffer.from(text, "base64")]);
  const pem = pemOfSeed.exec(text)?.[1];
  const der = pem === undefined ? value : Buffer.from(pem, "base64");
  const isSeed =
    der.length === seedPrefix.length + seedBytes && der.subarray(0, seedPrefix.length).equals(seedPrefix);
  return isSeed ? der : undefined;
}

function keyOfDer(key: Buffer, type: "pkcs8" | "pkcs1"): KeyObject | undefined {
  return keyOf(() => createPrivateKey({ key, format: "der", type }));
}

function keyOf(create: () => KeyObject): KeyObject | undefined {
  try {
    return create();
  } catch {
    // OpenSSL's words ("DECODER routines::unsupported") help nobody.
    return undefined;
  }
}
