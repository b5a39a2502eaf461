/** What operators select of queued mail: a tenant, a site or both. Pure; never fails. */
import { isSiteWithin } from "./subject.ts";

/** Both absent = everything. */
export interface Selection {
  readonly tenant?: string | undefined;
  /** With all of its slices. */
  readonly site?: string | undefined;
}

/** Does the selection `outer` hold all that `inner` holds? */
export function covers(outer: Selection, inner: Selection): boolean {
  const isTenantCovered = outer.tenant === undefined || outer.tenant === inner.tenant;
  if (!isTenantCovered || outer.site === undefined) return isTenantCovered;
  return inner.site !== undefined && isSiteWithin(inner.site, outer.site);
}
