/** Which Secrets a resource refers to. Pure. */
import { egressProxyName } from "#crds/api/v1alpha1/egress.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";

/** `namespace/name` of each, a Secret perhaps more than once. */
export function secretsOfTenant({ metadata, spec }: Resource<TenantSpec>): string[] {
  const keys = spec.domains.flatMap(({ dkim = [] }) => dkim.map(({ secretRef }) => secretRef.name));
  const logins = (spec.credentials ?? []).map(({ secretRef }) => secretRef.name);
  return [...keys, ...logins].map((name) => `${metadata.namespace}/${name}`);
}

/** Those that its pods mount: the operator logs in as they do, and says what is missing. */
export function secretsOfPool({ metadata, spec }: Resource<SendingPoolSpec>): string[] {
  const { queue, egress, tls } = spec;
  const names = [
    tls?.secretRef.name,
    queue.credentialsSecretRef?.name,
    queue.tlsSecretRef?.name,
    egress?.proxy?.secretRef?.name,
    egress?.mode === "Proxy" ? egressProxyName(metadata.name) : undefined,
  ];
  return names.flatMap((name) => (name === undefined ? [] : [`${metadata.namespace}/${name}`]));
}
