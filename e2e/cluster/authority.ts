/** The cluster's certificate authority, its certificates and kubeconfigs; all of it lives as long as the cluster. */
import { randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { installReflectMetadata } from "#operator/provider/reflect-metadata.ts";

export interface Authority {
  /** PEM. */
  readonly ca: string;
  /** Writes NAME.crt and NAME.key. */
  issue(request: CertificateRequest): Promise<KeyPair>;
}

interface CertificateRequest {
  readonly name: string;
  /** User name for the API server. */
  readonly commonName: string;
  /** Group for the API server. */
  readonly organization?: string;
  /** Host names and addresses of a server. */
  readonly names?: readonly string[];
}

export interface KeyPair {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const validMs = 30 * 86_400_000;

/** Writes ca.crt, ca.key and the service accounts' sa.key and sa.pub into `folder`. */
export async function createAuthority(folder: string): Promise<Authority> {
  installReflectMetadata();
  const library = await import("@peculiar/x509");
  const validity = {
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + validMs),
    signingAlgorithm: algorithm,
  };
  const keys = await generateKeys();
  const root = await library.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: "CN=mailboat test cluster",
    ...validity,
    keys,
    extensions: [
      new library.BasicConstraintsExtension(true, 0, true),
      new library.KeyUsagesExtension(library.KeyUsageFlags.keyCertSign | library.KeyUsageFlags.cRLSign, true),
      await library.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const ca = `${root.toString("pem")}\n`;
  await writeFile(join(folder, "ca.crt"), ca);
  await writeFile(join(folder, "ca.key"), await keyPem(keys), { mode: 0o600 });
  await writeServiceAccountKeys(folder);
  return {
    ca,
    async issue({ name, commonName, organization, names = [] }) {
      const leafKeys = await generateKeys();
      const { serverAuth, clientAuth } = library.ExtendedKeyUsage;
      const alternatives = names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const);
      const leaf = await library.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: `${organization === undefined ? "" : `O=${organization}, `}CN=${commonName}`,
        issuer: root.subject,
        ...validity,
        publicKey: leafKeys.publicKey,
        signingKey: keys.privateKey,
        extensions: [
          new library.KeyUsagesExtension(library.KeyUsageFlags.digitalSignature, true),
          new library.ExtendedKeyUsageExtension(names.length > 0 ? [serverAuth, clientAuth] : [clientAuth]),
          ...(names.length > 0 ? [new library.SubjectAlternativeNameExtension(alternatives)] : []),
          await library.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ],
      });
      const pair = { cert: `${leaf.toString("pem")}\n`, key: await keyPem(leafKeys) };
      await writeFile(join(folder, `${name}.crt`), pair.cert);
      await writeFile(join(folder, `${name}.key`), pair.key, { mode: 0o600 });
      return pair;
    },
  };
}

/** JSON is YAML: kubectl and every client read it. */
export function kubeconfig(server: string, ca: string, who: KeyPair | { readonly token: string }): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const user =
    "token" in who
      ? { token: who.token }
      : { "client-certificate-data": base64(who.cert), "client-key-data": base64(who.key) };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "mailboat",
    clusters: [{ name: "mailboat", cluster: { server, "certificate-authority-data": base64(ca) } }],
    users: [{ name: "mailboat", user }],
    contexts: [{ name: "mailboat", context: { cluster: "mailboat", user: "mailboat" } }],
  });
}

async function writeServiceAccountKeys(folder: string): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  await writeFile(join(folder, "sa.key"), privateKey, { mode: 0o600 });
  await writeFile(join(folder, "sa.pub"), publicKey);
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function keyPem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}

function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}
