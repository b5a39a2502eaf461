/** Which namespaces a pool takes tenants of. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";

interface Gate {
  /** Of the pool. */
  readonly namespace: string;
  readonly allowed: SendingPoolSpec["allowedTenants"];
}

/** @param labels of the tenant's namespace; undefined = they cannot be read, and let nobody in */
export function letsIn(
  { namespace, allowed }: Gate,
  tenantNamespace: string,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  if (namespace === tenantNamespace) return true;
  const { from, selector } = allowed ?? { from: "Same" };
  switch (from) {
    case "Same":
      return false;
    case "All":
      return true;
    case "Selector": {
      const wanted = Object.entries(selector?.matchLabels ?? {});
      return labels !== undefined && wanted.every(([name, value]) => labels[name] === value);
    }
    default:
      return from satisfies never;
  }
}
