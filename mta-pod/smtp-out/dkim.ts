/** DKIM signatures (RFC 6376, 8301, 8463): relaxed/relaxed, rsa-sha256 and ed25519-sha256, any number, off the event loop. */
import { createPrivateKey, hash, type KeyObject, sign as signData } from "node:crypto";
import type { DkimKey } from "#crds/pod-config/schema.ts";
import { relaxedBodyHash } from "./canonical-body.ts";
import { relaxValue, signedFields, splitMessage } from "./canonical-header.ts";

export interface SigningKey {
  readonly domain: string;
  readonly selector: string;
  readonly algorithm: "rsa" | "ed25519";
  readonly key: KeyObject;
}

/** RFC 8301 §3.2: verifiers take nothing shorter. */
const minRsaBits = 1024;

/** Both go into the signature's text: a selector is a domain name's labels, too. */
const domainPattern = /^[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?$/i;

/**
 * Parses once what is signed with a million times.
 * @throws Error when the key is no PKCS #8 key of its algorithm, an RSA key is too short, or a name is no domain name
 */
export function importKey({ domain, selector, algorithm, der }: Omit<DkimKey, "tenant">): SigningKey {
  for (const name of [domain, selector]) {
    if (!domainPattern.test(name))
      throw new Error(`Cannot import DKIM key: expected a domain name, got "${name}"`);
  }
  const key = createPrivateKey({ key: Buffer.from(der, "base64"), format: "der", type: "pkcs8" });
  if (key.asymmetricKeyType !== algorithm) {
    throw new Error(
      `Cannot import DKIM key: expected ${algorithm}, got ${key.asymmetricKeyType ?? "nothing"}`,
    );
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (algorithm === "rsa" && bits < minRsaBits) {
    throw new Error(`Cannot import DKIM key: expected at least ${minRsaBits} bits, got ${bits}`);
  }
  return { domain, selector, algorithm, key };
}

/**
 * The DKIM-Signature fields of `message`, one per key in their order, each with its CRLF, to be put before it.
 * The message has CRLF line ends. Signing runs in libuv's threads, hashing here. Rejects when a key cannot sign.
 * @example Buffer.concat([await sign(message, keys, Math.floor(clock.now() / 1000)), message])
 */
export async function sign(
  message: Buffer,
  keys: readonly SigningKey[],
  nowSeconds: number,
): Promise<Buffer> {
  const { header, bodyStart } = splitMessage(message);
  const fields = signedFields(header);
  const bodyHash = await relaxedBodyHash(message.subarray(bodyStart));
  const signatures = await Promise.all(
    keys.map(async (key) => {
      const value = unsigned(key, { names: fields.names, bodyHash, nowSeconds });
      // §3.7: the signature field itself comes last, without its signature and without a CRLF.
      const data = Buffer.from(`${fields.text}dkim-signature:${relaxValue(value)}`, "latin1");
      const signature = await signOffLoop(key, data);
      return `DKIM-Signature:${value}${fold(signature.toString("base64"), "")}\r\n`;
    }),
  );
  return Buffer.from(signatures.join(""), "latin1");
}

interface Signed {
  readonly names: string;
  readonly bodyHash: string;
  readonly nowSeconds: number;
}

/** The value of the field up to and including `b=`, in lines of less than 78 characters. */
function unsigned(
  { domain, selector, algorithm }: SigningKey,
  { names, bodyHash, nowSeconds }: Signed,
): string {
  const tags = [
    ` v=1; a=${algorithm}-sha256; c=relaxed/relaxed; t=${nowSeconds};`,
    `d=${domain}; s=${selector};`,
    `h=${fold(names, ":")};`,
    `bh=${bodyHash};`,
    "b=",
  ];
  return tags.join("\r\n ");
}

/** Breaks lines at 72 characters, behind the last `at` before that ("" = anywhere). */
function fold(text: string, at: string): string {
  const lines: string[] = [];
  let start = 0;
  while (text.length - start > 72) {
    const found = at === "" ? start + 71 : text.lastIndexOf(at, start + 71);
    const end = found > start ? found + 1 : start + 72;
    lines.push(text.slice(start, end));
    start = end;
  }
  lines.push(text.slice(start));
  return lines.join("\r\n ");
}

function signOffLoop({ algorithm, key }: SigningKey, data: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, signature: Buffer) => {
      if (error === null || error === undefined) resolve(signature);
      else reject(error);
    };
    // RFC 8463 §3: Ed25519 signs the SHA-256 of the data, and hashes that again its own way.
    if (algorithm === "ed25519") signData(null, hash("sha256", data, "buffer"), key, done);
    else signData("sha256", data, key, done);
  });
}
