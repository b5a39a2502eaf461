/** CORRIDOR: which DKIM keys sign a message: those of the From header's domain, if the tenant has any. Bad keys are logged, mail goes on. */
import type { PodConfig } from "#crds/pod-config/schema.ts";
import type { Log } from "./runtime/log.ts";
import { domainOf } from "./smtp/address.ts";
import { fromAddresses, headerFields } from "./smtp/header.ts";
import { importKey, type SigningKey } from "./smtp-out/dkim.ts";

const headerBound = 65_536;

export interface Signers {
  /** Keys for a message of `tenant`; [] = it goes unsigned. */
  keysFor(tenant: string, body: Buffer): readonly SigningKey[];
}

/** Imports every key once; call again when the configuration changes. */
export function createSigners(config: PodConfig, log: Log): Signers {
  const byTenant = new Map<string, Map<string, SigningKey[]>>();
  for (const key of config.dkimKeys) {
    try {
      const domains = byTenant.get(key.tenant) ?? new Map<string, SigningKey[]>();
      byTenant.set(key.tenant, domains);
      domains.set(key.domain, [...(domains.get(key.domain) ?? []), importKey(key)]);
    } catch (error) {
      log.error("dkim key refused", {
        tenant: key.tenant,
        domain: key.domain,
        selector: key.selector,
        error: String(error),
      });
    }
  }
  return {
    keysFor(tenant, body) {
      const domains = byTenant.get(tenant);
      if (domains === undefined) return [];
      const from = headerFields(body, headerBound).find((field) => field.is("from"));
      const [address] = from === undefined ? [] : fromAddresses(from.value);
      return address === undefined ? [] : (domains.get(domainOf(address)) ?? []);
    },
  };
}
