/** A pool's tenants → their configuration and keys, oldest first: who came earlier keeps a domain or a login, and who is going claims none. Pure. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import type { CredentialKey, DkimKey, TenantConfig } from "#crds/pod-config/schema.ts";
import type { Problem } from "./problems.ts";
import { refusal } from "./problems.ts";
import { milliseconds, optional, perSecond } from "./rules.ts";
import { dkimKeyOf, loginOf } from "./secrets.ts";
import type { Secrets } from "./secrets.ts";
import { newTrace, noted, replays } from "./trace.ts";
import type { Table, Trace } from "./trace.ts";

export interface CompiledTenant {
  readonly tenant: Resource<TenantSpec>;
  readonly config: TenantConfig;
  readonly credentials: readonly CredentialKey[];
  readonly dkim: readonly DkimKey[];
  readonly problems: readonly Problem[];
}

/** Who has what in a pool: owner by sender domain, first user of a return path, owner by username. */
interface Claims {
  readonly domains: Table<string>;
  readonly returnPaths: Table<string>;
  readonly usernames: Table<string>;
}

/** A tenant that comes to the same again is the very same object, and so are slots of nothing but such tenants. */
const known = new WeakMap<
  Resource<TenantSpec>,
  { readonly trace: Trace; readonly compiled: CompiledTenant }
>();

/** Order of decisions.md 1: creation time, then name. */
function bySeniority(a: Resource<TenantSpec>, b: Resource<TenantSpec>): number {
  const left = [a.metadata.creationTimestamp ?? "", identityOf(a.metadata)] as const;
  const right = [b.metadata.creationTimestamp ?? "", identityOf(b.metadata)] as const;
  return compareText(left[0], right[0]) || compareText(left[1], right[1]);
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export interface SecretsFound {
  readonly secrets: Secrets;
  /** Those that are gone, as they were last: for who is going. */
  readonly formerSecrets: Secrets;
}

export function compileTenants(
  tenants: readonly Resource<TenantSpec>[],
  { secrets, formerSecrets }: SecretsFound,
): CompiledTenant[] {
  const claims: Claims = { domains: new Map(), returnPaths: new Map(), usernames: new Map() };
  const tables = {
    ...claims,
    secrets: tableOf((key) => secrets.get(key)),
    lastSecrets: tableOf((key) => secrets.get(key) ?? formerSecrets.get(key)),
  };
  return [...tenants].sort(bySeniority).map((tenant) => {
    const before = known.get(tenant);
    if (before !== undefined && replays(before.trace, tables)) return before.compiled;
    const trace = newTrace();
    const table = isGoing(tenant) ? "lastSecrets" : "secrets";
    const own = { ...notedClaims(claims, trace), ...(isGoing(tenant) ? unclaimed : {}) };
    const compiled = compileTenant(tenant, noted(table, tables[table], trace), own);
    known.set(tenant, { trace, compiled });
    return compiled;
  });
}

function tableOf<Value>(get: (key: string) => Value | undefined): Table<Value> {
  return { get, set: () => {} };
}

function notedClaims(claims: Claims, trace: Trace): Claims {
  return {
    domains: noted("domains", claims.domains, trace),
    returnPaths: noted("returnPaths", claims.returnPaths, trace),
    usernames: noted("usernames", claims.usernames, trace),
  };
}

/** Who is going takes nothing from anybody, and nothing is taken from it: its domains are there to sign what is queued. */
const unclaimed: Pick<Claims, "domains" | "returnPaths"> = {
  domains: tableOf<string>(() => undefined),
  returnPaths: tableOf<string>(() => undefined),
};

/** It takes no new mail any more. */
export function isGoing({ metadata }: Resource<TenantSpec>): boolean {
  return typeof metadata.deletionTimestamp === "string";
}

function compileTenant(tenant: Resource<TenantSpec>, secrets: Secrets, claims: Claims): CompiledTenant {
  const { spec } = tenant;
  const problems: Problem[] = [];
  const domains = domainsOf(tenant, secrets, { claims, problems });
  const logins = loginsOf(tenant, secrets, { claims, problems });
  const streams = (spec.streams ?? []).map((stream) => ({ name: stream.name, class: stream.class }));
  if (!streams.some(({ name }) => name === "default"))
    streams.push({ name: "default", class: "transactional" });
  const config: TenantConfig = {
    id: identityOf(tenant.metadata),
    state: spec.state,
    // Its domains were checked against nobody's: whatever its state, a session that is open must not send as one of them.
    ...(isGoing(tenant) && spec.state !== "Reject" ? { isGoing: true } : {}),
    weight: spec.weight,
    domains: domains.configs.sort((a, b) => compareText(a.name, b.name)),
    credentials: logins.configs.sort((a, b) => compareText(a.name, b.name)),
    limits: limitsOf(spec),
    streams: streams.sort((a, b) => compareText(a.name, b.name)),
    retry: spec.retry?.maxAge === undefined ? {} : { maxAgeMs: milliseconds(spec.retry.maxAge) },
  };
  return { tenant, config, credentials: logins.keys, dkim: domains.keys, problems };
}

function limitsOf({ limits = {} }: TenantSpec): TenantConfig["limits"] {
  return {
    ...optional("messagesPerSecond", perSecond(limits.messageRate)),
    ...optional("burst", limits.burst),
    ...optional("messagesPerDay", limits.messagesPerDay),
    recipientsPerMessage: limits.recipientsPerMessage ?? compiledDefaults.recipientsPerMessage,
    messageSizeBytes: limits.messageSizeBytes ?? compiledDefaults.messageSizeBytes,
    ...optional("queuedMessages", limits.queuedMessages),
  };
}

interface Compiling {
  readonly claims: Claims;
  readonly problems: Problem[];
}

function domainsOf(tenant: Resource<TenantSpec>, secrets: Secrets, { claims, problems }: Compiling) {
  const id = identityOf(tenant.metadata);
  const configs: TenantConfig["domains"] = [];
  const keys: DkimKey[] = [];
  const owned = claimDomains(tenant, { claims, problems });
  for (const [index, domain] of tenant.spec.domains.entries()) {
    if (!owned.has(domain.name)) continue;
    const where = `spec.domains[${index}]`;
    const selectors: { selector: string }[] = [];
    for (const [at, { selector, secretRef }] of (domain.dkim ?? []).entries()) {
      const ref = {
        namespace: tenant.metadata.namespace,
        ...secretRef,
        where: `${where}.dkim[${at}].secretRef`,
      };
      const key = dkimKeyOf(secrets, ref, { tenant: id, domain: domain.name, selector });
      if (!key.ok) {
        problems.push(key.problem);
        continue;
      }
      keys.push(key.value);
      selectors.push({ selector });
    }
    selectors.sort((a, b) => compareText(a.selector, b.selector));
    const returnPath = returnPathOf(domain.returnPath, { id, where, claims, problems });
    configs.push({ name: domain.name, ...optional("returnPath", returnPath), dkim: selectors });
  }
  return { configs, keys };
}

/** The domains that are this tenant's: all of them before any return path, which may name one. */
function claimDomains(tenant: Resource<TenantSpec>, { claims, problems }: Compiling): Set<string> {
  const id = identityOf(tenant.metadata);
  const owned = new Set<string>();
  for (const [index, { name }] of tenant.spec.domains.entries()) {
    const owner = claims.domains.get(name) ?? claims.returnPaths.get(name);
    if (owner === undefined) {
      claims.domains.set(name, id);
      owned.add(name);
      continue;
    }
    const expected = "a domain that no older tenant has";
    const issue = { where: `spec.domains[${index}].name`, expected, got: `"${name}", which ${owner} has` };
    problems.push(refusal("DomainConflict", issue));
  }
  return owned;
}

/** MAIL FROM may be in it: several tenants may share one, but never a sender domain of somebody else. */
function returnPathOf(
  returnPath: string | undefined,
  { id, where, claims, problems }: Compiling & { readonly id: string; readonly where: string },
): string | undefined {
  if (returnPath === undefined) return undefined;
  const owner = claims.domains.get(returnPath);
  if (owner === undefined || owner === id) {
    if (owner === undefined && claims.returnPaths.get(returnPath) === undefined)
      claims.returnPaths.set(returnPath, id);
    return returnPath;
  }
  const expected = "a domain that is no older tenant's";
  const issue = { where: `${where}.returnPath`, expected, got: `"${returnPath}", which ${owner} has` };
  problems.push(refusal("DomainConflict", issue));
  return undefined;
}

function loginsOf(tenant: Resource<TenantSpec>, secrets: Secrets, { claims, problems }: Compiling) {
  const id = identityOf(tenant.metadata);
  const configs: TenantConfig["credentials"] = [];
  const keys: CredentialKey[] = [];
  for (const [index, { name, secretRef, stream }] of (tenant.spec.credentials ?? []).entries()) {
    const where = `spec.credentials[${index}].secretRef`;
    const ref = { namespace: tenant.metadata.namespace, name: secretRef.name, where };
    const login = loginOf(secrets, ref, { tenant: id, credential: name });
    if (!login.ok) {
      problems.push(login.problem);
      continue;
    }
    const owner = claims.usernames.get(login.value.username);
    if (owner !== undefined) {
      // Not the name itself: it comes out of a Secret, and conditions are read by more people than Secrets are.
      const issue = {
        where,
        expected: "a username that no older credential has",
        got: `one that ${owner} has`,
      };
      problems.push(refusal("UsernameConflict", issue));
      continue;
    }
    claims.usernames.set(login.value.username, `${id} (${name})`);
    keys.push(login.value);
    configs.push({ name, ...optional("stream", stream) });
  }
  return { configs, keys };
}

/** What the tenant's status says besides conditions. */
export function tenantFields({ tenant, config, problems }: CompiledTenant): object {
  const compiled = new Map(config.domains.map((domain) => [domain.name, domain]));
  const domains = tenant.spec.domains.map(({ name }, index) => {
    const problem = problems.find(({ where }) => where.startsWith(`spec.domains[${index}].`));
    const dkimReady = (compiled.get(name)?.dkim.length ?? 0) > 0;
    return { name, dkimReady, ...optional("reason", problem?.reason) };
  });
  return { domainCount: config.domains.length, domains };
}
