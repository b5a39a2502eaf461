/** Logins: by name and password, or by an address that the pool trusts. Pure but for hashing; never throws. */
import { timingSafeEqual } from "node:crypto";
import ipaddr from "ipaddr.js";
import { passwordMac } from "#crds/pod-config/password-mac.ts";
import type { CredentialKey, PodConfig } from "#crds/pod-config/schema.ts";
import { refuse } from "./refusal.ts";
import type { Refusal } from "./refusal.ts";

export interface AdmittedLogin {
  /** `namespace/name`. */
  readonly tenant: string;
  readonly credential: string;
  /** The credential's stream; null = the message may name one. */
  readonly stream: string | null;
}

export type LoginVerdict = { readonly ok: true; readonly login: AdmittedLogin } | Refusal;

export interface Logins {
  login(username: string, password: string): LoginVerdict;
  trusted(remoteAddress: string): AdmittedLogin | null;
}

const noCredential: Pick<CredentialKey, "tenant" | "passwordMac"> = {
  tenant: "nobody/nobody",
  // Of 32 bytes as any MAC, and of no password that anybody knows.
  passwordMac: "00".repeat(32),
};

export function createLogins(config: PodConfig): Logins {
  const credentials = new Map(config.credentials.map((credential) => [credential.username, credential]));
  const trust = config.manifest.trust.flatMap(({ cidr, tenant }) => {
    const range = parseRange(cidr);
    return range === undefined
      ? []
      : [{ range, login: { tenant, credential: `trust:${cidr}`, stream: null } }];
  });
  return {
    login(username, password) {
      const credential = credentials.get(username);
      const { tenant, passwordMac: expected } = credential ?? noCredential;
      const isRight = isSameMac(passwordMac({ tenant, username }, password), expected);
      // The key may outlive the credential in the tenant's own list: then it is no login any more.
      const listed = config.tenants
        .get(tenant)
        ?.credentials.find((one) => one.name === credential?.credential);
      if (credential === undefined || !isRight || listed === undefined)
        return refuse("bad-credentials", "authentication failed");
      return {
        ok: true,
        login: { tenant, credential: credential.credential, stream: listed.stream ?? null },
      };
    },
    trusted(remoteAddress) {
      const address = parseAddress(remoteAddress);
      if (address === undefined) return null;
      const found = trust.find(
        ({ range: [base, bits] }) => base.kind() === address.kind() && address.match(base, bits),
      );
      return found?.login ?? null;
    },
  };
}

function isSameMac(left: string, right: string): boolean {
  const bytes = Buffer.from(right, "hex");
  return bytes.length === 32 && timingSafeEqual(Buffer.from(left, "hex"), bytes);
}

type Address = ReturnType<typeof ipaddr.process>;

/** IPv4-mapped forms become IPv4: a listener on `::` reports IPv4 clients so. */
function parseAddress(text: string): Address | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}

function parseRange(cidr: string): [Address, number] | undefined {
  return ipaddr.isValidCIDR(cidr) ? ipaddr.parseCIDR(cidr) : undefined;
}
