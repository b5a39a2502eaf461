/** Which queued mail a question or an act is about: its words, and what fits them. Pure but for the configuration it reads. */
import type { Envelope } from "#crds/wire/envelope.ts";
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

/** A bare name is taken when it is unique (decisions.md 1). */
export function fullName(pod: Pod, tenant: string): string {
  if (tenant.includes("/")) return tenant;
  const named = [...pod.config().tenants.keys()].filter((id) => id.endsWith(`/${tenant}`));
  return named.length === 1 ? (named[0] ?? tenant) : tenant;
}

export function matches(envelope: Envelope, { domain, id }: QueueQuery): boolean {
  if (id !== undefined && envelope.id !== id) return false;
  return (
    domain === undefined ||
    envelope.to.some((address) => address.toLowerCase().endsWith(`@${domain.toLowerCase()}`))
  );
}
