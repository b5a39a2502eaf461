/**
 * Tenants that an edit took out of the files (decisions.md 17: a removed local file = Drain): nothing new comes in, what is
 * queued still goes, signed. Kept in the state folder until no mail of theirs can be left. What cannot be read is forgotten.
 */
import { readFile } from "node:fs/promises";
import { apiVersion, identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource, SecretResource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { drained } from "#operator/gather/drained.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { type StateDir, writeAtomic } from "./state-dir.ts";

export interface Draining {
  readonly tenants: readonly Resource<TenantSpec>[];
  /** Those that the tenants refer to. */
  readonly secrets: readonly SecretResource[];
  /** Labels of the tenants' namespaces, by which their pools let them in. */
  readonly namespaces: NonNullable<Snapshot["namespaces"]>;
}

/** Names the source of a draining tenant in issues. */
export const drainingSource = "draining";

/** No mail lives longer than the longest maxAge, 168 h; and two days of grace. */
const keptMs = 9 * 24 * 3_600_000;

/** Who drains once `before` has become `after`; those of `draining` that came back are themselves again. */
export function drainingAfter(draining: Draining, { before, after, now }: Edit): Draining {
  const present = new Set(after.tenants.map(({ metadata }) => identityOf(metadata)));
  const left = before.tenants.filter(({ source }) => source !== drainingSource);
  const all = [...draining.tenants, ...left.map((tenant) => drainingSince(tenant, now))];
  const tenants = new Map(all.map((tenant) => [identityOf(tenant.metadata), tenant]));
  for (const [id, { metadata }] of tenants)
    if (present.has(id) || Date.parse(metadata.deletionTimestamp ?? "") + keptMs < now) tenants.delete(id);
  const wanted = new Set([...tenants.values()].flatMap(secretsOf));
  const known = [...draining.secrets, ...before.secrets, ...after.secrets];
  const secrets = new Map(known.map((secret) => [identityOf(secret.metadata), secret]));
  return {
    tenants: [...tenants.values()],
    secrets: [...secrets].filter(([id]) => wanted.has(id)).map(([, secret]) => secret),
    namespaces: ofTenants(
      [...tenants.values()],
      new Map([draining, before, after].flatMap(({ namespaces = [] }) => [...namespaces])),
    ),
  };
}

export interface Edit {
  /** What was in force, draining ones included. */
  readonly before: Snapshot;
  /** What the files say now. */
  readonly after: Snapshot;
  /** ms since 1970. */
  readonly now: number;
}

function drainingSince(tenant: Resource<TenantSpec>, now: number): Resource<TenantSpec> {
  return { ...drained(tenant, new Date(now).toISOString()), source: drainingSource };
}

function secretsOf({ metadata, spec }: Resource<TenantSpec>): string[] {
  const refs = spec.domains.flatMap(({ dkim = [] }) => dkim.map(({ secretRef }) => secretRef.name));
  return refs.map((name) => identityOf({ namespace: metadata.namespace, name }));
}

function ofTenants(
  tenants: Snapshot["tenants"],
  namespaces: Draining["namespaces"] = new Map(),
): Draining["namespaces"] {
  const theirs = new Set(tenants.map(({ metadata }) => metadata.namespace));
  return new Map([...namespaces].filter(([name]) => theirs.has(name)));
}

/** The files' resources and those that drain; a Secret or Namespace in the files goes before a remembered one. */
export function withDraining(snapshot: Snapshot, { tenants, secrets, namespaces }: Draining): Snapshot {
  const named = new Set(snapshot.secrets.map(({ metadata }) => identityOf(metadata)));
  const missing = secrets.filter(({ metadata }) => !named.has(identityOf(metadata)));
  return {
    ...snapshot,
    tenants: [...snapshot.tenants, ...tenants],
    secrets: [...snapshot.secrets, ...missing],
    namespaces: new Map([...namespaces, ...(snapshot.namespaces ?? [])]),
  };
}

const file = (state: StateDir): string => state.file("tenants.json");

/** What was in force when the last run wrote it down: files may have been removed while nothing ran. */
export async function readFormer(state: StateDir): Promise<{ snapshot: Snapshot; draining: Draining }> {
  const text = await readFile(file(state), "utf8").catch(() => "");
  const { snapshot } = gatherResources([{ source: "the last run", value: parseJson(text) }]);
  const [gone, there] = [true, false].map((isGone) =>
    snapshot.tenants
      .filter(({ metadata }) => (typeof metadata.deletionTimestamp === "string") === isGone)
      .map((tenant) => (isGone ? { ...tenant, source: drainingSource } : tenant)),
  );
  const { secrets, namespaces = new Map() } = snapshot;
  const draining = { tenants: gone ?? [], secrets, namespaces };
  return { snapshot: { ...snapshot, tenants: there ?? [] }, draining };
}

/** As a List of the tenants, their DKIM keys and what is known of their namespaces, private. */
export async function writeTenants(
  state: StateDir,
  { tenants, secrets, namespaces }: Snapshot,
): Promise<void> {
  const wanted = new Set(tenants.flatMap(secretsOf));
  const items = [
    ...tenants.map(({ metadata, spec }) => ({ apiVersion, kind: "Tenant", metadata, spec })),
    ...secrets
      .filter(({ metadata }) => wanted.has(identityOf(metadata)))
      .map(({ metadata, data }) => ({ apiVersion: "v1", kind: "Secret", metadata, data: encoded(data) })),
    ...[...ofTenants(tenants, namespaces)].map(([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
  ];
  await writeAtomic(file(state), `${JSON.stringify({ kind: "List", items })}\n`, 0o600);
}

function encoded(data: SecretResource["data"]): Record<string, string> {
  return Object.fromEntries([...data].map(([name, value]) => [name, Buffer.from(value).toString("base64")]));
}

function parseJson(text: string): unknown {
  try {
    return text === "" ? { kind: "List", items: [] } : JSON.parse(text);
  } catch {
    return { kind: "List", items: [] };
  }
}
