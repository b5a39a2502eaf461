/** Which queued mail a question or an act is about: its words, and what fits them. Pure but for the configuration it reads. */
import type { Envelope } from "#crds/wire/envelope.ts";
import { Problem } from "./http-in/problem.ts";
import type { Pod } from "./pod.ts";

export interface QueueQuery {
  readonly tenant?: string | undefined;
  readonly site?: string | undefined;
  readonly domain?: string | undefined;
  readonly id?: string | undefined;
  readonly limit?: number | undefined;
}

export function selectorOf(pod: Pod, { tenant, site }: QueueQuery): { tenant?: string; site?: string } {
  return {
    ...(tenant === undefined ? {} : { tenant: fullName(pod, tenant) }),
    ...(site === undefined ? {} : { site }),
  };
}

/** A bare name is taken when it is unique (decisions.md 1); any other stays as it is, and fits nothing. */
function fullName(pod: Pod, tenant: string): string {
  const [only, ...others] = fullNames(pod.config().tenants, tenant);
  return only === undefined || others.length > 0 ? tenant : only;
}

function fullNames(tenants: ReadonlyMap<string, unknown>, tenant: string): readonly string[] {
  return tenant.includes("/") ? [tenant] : [...tenants.keys()].filter((id) => id.endsWith(`/${tenant}`));
}

/**
 * For what is stated and stays: of a name that nobody has it would be stated for nothing, of one that two have for the wrong one.
 * @throws Problem 404 or 400
 */
export function namedTenant(tenants: ReadonlyMap<string, unknown>, tenant: string): string {
  const [only, ...others] = fullNames(tenants, tenant);
  if (only === undefined)
    throw new Problem(
      404,
      "not-found",
      `Cannot tell which tenant is meant: expected a tenant of this pool, got "${tenant}"`,
    );
  if (others.length > 0)
    throw new Problem(
      400,
      "bad-request",
      `Cannot tell which tenant is meant: expected one of ${[only, ...others].join(", ")}, got "${tenant}"`,
    );
  return only;
}

export function matches(envelope: Envelope, { domain, id }: QueueQuery): boolean {
  if (id !== undefined && envelope.id !== id) return false;
  return (
    domain === undefined ||
    envelope.to.some((address) => address.toLowerCase().endsWith(`@${domain.toLowerCase()}`))
  );
}
