/** Certificates for tests: a leaf of one day and the authority it chains to, made on the spot. */
import { createAuthority } from "#operator/provider/certificate.ts";

export interface TestCertificate {
  /** All PEM; `cert` is the leaf and then the authority. */
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

/** For host names and addresses. @example await testCertificate(["mx.test", "127.0.0.1"]) */
export async function testCertificate(names: readonly string[]): Promise<TestCertificate> {
  const authority = await createAuthority("test authority", 1, Date.now());
  const { key, cert } = await authority.issue(names, 1);
  return { key, cert: cert + authority.cert, ca: authority.cert };
}
