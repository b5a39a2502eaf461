/** Certificates and DKIM keys of one run, in its folder. Throws Error when they cannot be written. */
import { generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createAuthority } from "#operator/provider/certificate.ts";

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** What the path is given; each is absent when the scenario does without. */
export interface RunKeys {
  /** Of the path's own listener. */
  readonly server?: CertificateFiles;
  readonly sink?: CertificateFiles;
  readonly dkim?: DkimKey;
}

interface DkimKey {
  readonly domain: string;
  readonly selector: string;
  readonly pem: string;
  /** The same, as a file. */
  readonly file: string;
}

export const senderDomain = "tenant1.example";
const validDays = 2;
const rsaBits = 2048;

export async function makeKeys(
  folder: string,
  wanted: { readonly tls: boolean; readonly dkim: boolean },
): Promise<RunKeys> {
  const certificates = wanted.tls ? await makeCertificates(folder) : {};
  if (!wanted.dkim) return certificates;
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: rsaBits });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  const file = join(folder, "dkim.key");
  await writeFile(file, pem, { mode: 0o644 });
  return { ...certificates, dkim: { domain: senderDomain, selector: "s1", pem: String(pem), file } };
}

async function makeCertificates(folder: string): Promise<Pick<RunKeys, "server" | "sink">> {
  const authority = await createAuthority("Mailboat bench", validDays, Date.now());
  const make = async (name: string): Promise<CertificateFiles> => {
    const { cert, key } = await authority.issue([name, "localhost", "127.0.0.1"], validDays);
    const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
    await writeFile(files.cert, cert);
    // Peers read it as users of their own; it lives as long as the run.
    await writeFile(files.key, key, { mode: 0o644 });
    return files;
  };
  return { server: await make("out.bench.test"), sink: await make("sink.test") };
}
