/** Makes certificates for use on this machine: an authority and leaves signed by it. Node can use certificates but not issue them. */
import { randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { isIP } from "node:net";

interface KeyPair {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
}

export interface Authority extends KeyPair {
  issue(names: readonly string[], validDays: number): Promise<KeyPair>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 86_400_000;

type Keys = webcrypto.CryptoKeyPair;
type Library = typeof import("@peculiar/x509");

/** The library's own dependency wants `Reflect` metadata to be there before it is loaded. */
async function loadLibrary(): Promise<Library> {
  const { installReflectMetadata } = await import("./reflect-metadata.ts");
  installReflectMetadata();
  return import("@peculiar/x509");
}

async function generateKeys(): Promise<Keys> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function keyPem(keys: Keys): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const lines = der.toString("base64").replace(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}

function validity(now: number, days: number): { notBefore: Date; notAfter: Date } {
  // An hour back: the clock of whoever checks it may be a little behind.
  return { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + days * dayMs) };
}

function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

/** A new authority with a key of its own; `now` in ms since 1970. */
export async function createAuthority(
  commonName: string,
  validDays: number,
  now: number,
): Promise<Authority> {
  const library = await loadLibrary();
  const keys = await generateKeys();
  const usages = library.KeyUsageFlags;
  const certificate = await library.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${commonName}`,
    ...validity(now, validDays),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new library.BasicConstraintsExtension(true, 0, true),
      new library.KeyUsagesExtension(usages.keyCertSign | usages.cRLSign, true),
      await library.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const cert = `${certificate.toString("pem")}\n`;
  const signer = { library, keys, subject: certificate.subject, now };
  return { key: await keyPem(keys), cert, issue: (names, days) => issueLeaf(signer, names, days) };
}

interface Signer {
  readonly library: Library;
  readonly keys: Keys;
  readonly subject: string;
  readonly now: number;
}

/** A server's certificate for host names and IP addresses; the first name is the common name. */
async function issueLeaf(signer: Signer, names: readonly string[], validDays: number): Promise<KeyPair> {
  const { library } = signer;
  const keys = await generateKeys();
  const certificate = await library.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${names[0] ?? "localhost"}`,
    issuer: signer.subject,
    ...validity(signer.now, validDays),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    extensions: [
      new library.BasicConstraintsExtension(false, undefined, true),
      new library.KeyUsagesExtension(library.KeyUsageFlags.digitalSignature, true),
      new library.ExtendedKeyUsageExtension([library.ExtendedKeyUsage.serverAuth]),
      new library.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value })),
      ),
      await library.AuthorityKeyIdentifierExtension.create(signer.keys.publicKey),
    ],
  });
  return { key: await keyPem(keys), cert: `${certificate.toString("pem")}\n` };
}

/** Until when a PEM certificate holds, ms since 1970; NaN when it cannot be read. */
export function validUntil(pem: string): number {
  try {
    return Date.parse(new X509Certificate(pem).validTo);
  } catch {
    return Number.NaN;
  }
}
