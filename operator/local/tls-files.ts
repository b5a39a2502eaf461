/** Local mode's own certificate authority and the pods' certificate, kept in STATE/tls and made again before they run out. */
import { X509Certificate } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { createAuthority, validUntil } from "#operator/provider/certificate.ts";
import { isWildcard } from "./endpoint.ts";
import { writeAtomic } from "./state-dir.ts";

export interface TlsFiles {
  /** Holds tls.crt and tls.key, as a Secret of type kubernetes.io/tls is mounted. */
  readonly dir: string;
  /** The authority to trust. */
  readonly ca: string;
}

const validDays = 365;
const renewMs = 30 * 86_400_000;

/** `now` in ms since 1970; `names` are what clients may call the host. */
export async function ensureTlsFiles(dir: string, names: readonly string[], now: number): Promise<TlsFiles> {
  const files = { dir, ca: join(dir, "ca.crt") };
  if (await isUsable(dir, names, now)) return files;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  // Its key is thrown away: nothing else can ever be signed in the name of an authority that users may have trusted.
  const authority = await createAuthority("Mailboat local mode", validDays, now);
  const leaf = await authority.issue(names, validDays);
  await writeAtomic(join(dir, "tls.key"), leaf.key, 0o600);
  await writeAtomic(join(dir, "tls.crt"), leaf.cert);
  await writeAtomic(files.ca, authority.cert);
  return files;
}

async function isUsable(dir: string, names: readonly string[], now: number): Promise<boolean> {
  const read = (name: string): Promise<string> => readFile(join(dir, name), "utf8").catch(() => "");
  const [ca, cert, key] = await Promise.all([read("ca.crt"), read("tls.crt"), read("tls.key")]);
  if (ca === "" || cert === "" || key === "") return false;
  if (!(validUntil(cert) > now + renewMs && validUntil(ca) > now + renewMs)) return false;
  try {
    const leaf = new X509Certificate(cert);
    const covered = names.every((name) => (leaf.checkHost(name) ?? leaf.checkIP(name)) !== undefined);
    return covered && leaf.verify(new X509Certificate(ca).publicKey);
  } catch {
    return false;
  }
}

/** What the certificate has to cover for a server that listens there. */
export function namesOf(bind: string): string[] {
  const names = new Set(["localhost", "127.0.0.1", "::1"]);
  if (!isWildcard(bind)) names.add(bind);
  else
    for (const addresses of Object.values(networkInterfaces()))
      for (const { address, scopeid } of addresses ?? []) if (!scopeid) names.add(address);
  return [...names];
}
