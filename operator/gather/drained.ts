/** A tenant that is going: nothing new comes in, what is queued still goes, signed. Pure. */
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";

/** Nobody logs in as it any more; mail on hold stays on hold, since somebody wanted that, and pods refuse more of it (`isGoing`). */
export function drained(tenant: Resource<TenantSpec>, removedAt: string): Resource<TenantSpec> {
  const { credentials: _credentials, ...spec } = tenant.spec;
  return {
    source: tenant.source,
    // Where its slot is full, the youngest finds no room.
    metadata: { ...tenant.metadata, creationTimestamp: removedAt, deletionTimestamp: removedAt },
    spec: { ...spec, state: spec.state === "Hold" ? "Hold" : "Reject" },
  };
}
