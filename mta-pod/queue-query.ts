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

/** The tenants of this pool that a name, bare or full, may mean: how a command finds the pool of a tenant. */
export function tenantsCalled(tenants: ReadonlyMap<string, unknown>, tenant: string): readonly string[] {
  return fullNames(tenants, tenant).filter((id) => tenants.has(id));
}

/**
 * For what is stated and stays: of a name that nobody has it would be stated for nothing, of one that two have for the wrong one.
 * @throws Problem 404 or 400
 */
export function namedTenant(tenants: ReadonlyMap<string, unknown>, tenant: string): string {
  const [only] = fullNames(tenants, tenant);
  if (only === undefined)
    throw new Problem(
      404,
      "not-found",
      `Cannot tell which tenant is meant: expected a tenant of this pool, got "${tenant}"`,
    );
  refuseSeveral(tenants, tenant);
  return only;
}

/**
 * A name that two tenants have fits nothing, which would read as if nothing of theirs were queued.
 * @throws Problem 400
 */
export function refuseSeveral(tenants: ReadonlyMap<string, unknown>, tenant: string): void {
  const all = fullNames(tenants, tenant);
  if (all.length > 1)
    throw new Problem(
      400,
      "bad-request",
      `Cannot tell which tenant is meant: expected one of ${all.join(", ")}, got "${tenant}"`,
    );
}

export function matches(envelope: Envelope, query: QueueQuery): boolean {
  if (query.id !== undefined && envelope.id !== query.id) return false;
  return envelope.to.some((address) => isMeant(address, query));
}

/** An act on a domain is about its recipients alone, not about others of the same message. */
function isMeant(address: string, { domain }: QueueQuery): boolean {
  return domain === undefined || address.toLowerCase().endsWith(`@${domain.toLowerCase()}`);
}

interface Open {
  readonly envelope: Pick<Envelope, "id" | "to">;
  /** Indexes of recipients that are not settled. */
  readonly open: readonly number[];
}

/** Recipients that are not settled: those that an act is about, and the others. */
export function sorted({ envelope, open }: Open, query: QueueQuery): { meant: number[]; others: number[] } {
  const isOne = (index: number): boolean => isMeant(envelope.to[index] ?? "", query);
  return { meant: open.filter(isOne), others: open.filter((index) => !isOne(index)) };
}

/** Whether an act is about the entry. */
export function isAbout(query: QueueQuery): (entry: Open) => boolean {
  return (entry) =>
    (query.id === undefined || query.id === entry.envelope.id) && sorted(entry, query).meant.length > 0;
}
