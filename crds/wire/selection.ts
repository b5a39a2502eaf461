/** What operators select of queued mail: tenants and sites as wholes, or messages among theirs. Pure; never fails. */
import { isSiteWithin } from "./subject.ts";

/** All absent = everything. */
export interface Selection {
  readonly tenant?: string | undefined;
  /** With all of its slices. */
  readonly site?: string | undefined;
  /** Messages with a recipient there. */
  readonly domain?: string | undefined;
  /** One message. */
  readonly id?: string | undefined;
}

/** Whether it picks messages out, rather than all mail of a tenant to a site. */
export function isOfMessages({ domain, id }: Selection): boolean {
  return domain !== undefined || id !== undefined;
}

/** Does the selection `outer` hold all that `inner` holds? */
export function covers(outer: Selection, inner: Selection): boolean {
  for (const name of ["tenant", "domain", "id"] as const)
    if (outer[name] !== undefined && outer[name] !== inner[name]) return false;
  if (outer.site === undefined) return true;
  return inner.site !== undefined && isSiteWithin(inner.site, outer.site);
}
