/** DKIM keys of a tenant, and what an independent verifier says of a message that they are to have signed. */
import { generateKeyPairSync } from "node:crypto";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";

export interface KeyPair {
  /** The private key, PEM. */
  readonly secret: string;
  /** What stands in DNS. */
  readonly record: string;
}

export function keyPair(algorithm: "rsa" | "ed25519"): KeyPair {
  const { privateKey, publicKey } =
    algorithm === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ed25519");
  const der = publicKey.export({ type: "spki", format: "der" });
  // RFC 8463: of an ed25519 key the record holds the bare 32 bytes.
  const p = (algorithm === "rsa" ? der : der.subarray(-32)).toString("base64");
  return {
    secret: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    record: `v=DKIM1; k=${algorithm}; p=${p}`,
  };
}

/** `SELECTOR RESULT DOMAIN` of each signature, sorted; `records` by their names in DNS. */
export async function signaturesOf(raw: Buffer, records: ReadonlyMap<string, string>): Promise<string[]> {
  const { results } = await dkimVerify(raw, {
    resolver: async (name: string) => {
      const record = records.get(name);
      if (record === undefined) throw Object.assign(new Error("none"), { code: "ENOTFOUND" });
      return [[record]];
    },
  });
  return results
    .map(({ selector, status, signingDomain }) => `${selector} ${status.result} ${signingDomain}`)
    .toSorted();
}
