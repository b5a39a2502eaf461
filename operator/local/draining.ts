/**
 * Tenants that an edit took out of the files, or to another pool (decisions.md 17: a removed local file = Drain): where they were nothing
 * new comes in, what is queued still goes, signed. Kept in the state folder until no mail of theirs can be left. What cannot be read is forgotten.
 */
import { readFile } from "node:fs/promises";
import { apiVersion, identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Draining, Resource, SecretResource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf, type TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { drained } from "#operator/gather/drained.ts";
import { gatherResources } from "#operator/gather/resources.ts";
import { type StateDir, writeAtomic } from "./state-dir.ts";

export interface LocalDraining extends Draining {
  /** Labels of the tenants' namespaces, by which their pools let them in. */
  readonly namespaces: NonNullable<Snapshot["namespaces"]>;
}

/** No mail lives longer than the longest maxAge, 168 h; and two days of grace. */
const keptMs = 9 * 24 * 3_600_000;

/** Who drains, and where, once `before` has become `after`; those of `draining` that came back are themselves again. */
export function drainingAfter(draining: LocalDraining, { before, after, now }: Edit): LocalDraining {
  const present = new Set(after.tenants.map(placeOf));
  const removedAt = new Date(now).toISOString();
  const all = [...draining.tenants, ...before.tenants.map((tenant) => drained(tenant, removedAt))];
  const tenants = new Map(all.map((tenant) => [placeOf(tenant), tenant]));
  for (const [place, { metadata }] of tenants)
    if (present.has(place) || Date.parse(metadata.deletionTimestamp ?? "") + keptMs < now)
      tenants.delete(place);
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
  /** What was in force. */
  readonly before: Snapshot;
  /** What the files say now. */
  readonly after: Snapshot;
  /** ms since 1970. */
  readonly now: number;
}

/** A tenant in a pool. */
function placeOf(tenant: Resource<TenantSpec>): string {
  return `${identityOf(tenant.metadata)} in ${poolOf(tenant)}`;
}

function secretsOf({ metadata, spec }: Resource<TenantSpec>): string[] {
  const refs = spec.domains.flatMap(({ dkim = [] }) => dkim.map(({ secretRef }) => secretRef.name));
  return refs.map((name) => identityOf({ namespace: metadata.namespace, name }));
}

function ofTenants(
  tenants: Snapshot["tenants"],
  namespaces: LocalDraining["namespaces"] = new Map(),
): LocalDraining["namespaces"] {
  const theirs = new Set(tenants.map(({ metadata }) => metadata.namespace));
  return new Map([...namespaces].filter(([name]) => theirs.has(name)));
}

/** The files' resources and what drains; a Namespace in the files goes before a remembered one. */
export function withDraining(snapshot: Snapshot, { namespaces, ...draining }: LocalDraining): Snapshot {
  const labels = new Map([...namespaces, ...(snapshot.namespaces ?? [])]);
  return { ...snapshot, draining, namespaces: labels };
}

const file = (state: StateDir): string => state.file("tenants.json");

/** What was in force when the last run wrote it down: files may have been removed while nothing ran. */
export async function readFormer(state: StateDir): Promise<{ snapshot: Snapshot; draining: LocalDraining }> {
  const text = await readFile(file(state), "utf8").catch(() => "");
  const documents = itemsIn(text).map((value) => ({ source: "the last run", value }));
  // One by one: a tenant may drain in several pools, beside itself.
  const [gone, there] = [documents.filter(isGone), documents.filter((one) => !isGone(one))];
  const { snapshot } = gatherResources(there);
  const tenants = gone.flatMap((document) => gatherResources([document]).snapshot.tenants);
  const { secrets, namespaces = new Map() } = snapshot;
  return { snapshot, draining: { tenants, secrets, namespaces } };
}

function isGone({ value }: { readonly value: unknown }): boolean {
  return typeof fieldOf(fieldOf(value, "metadata"), "deletionTimestamp") === "string";
}

/** As a List of the tenants, there or draining, their DKIM keys and what is known of their namespaces, private. */
export async function writeTenants(
  state: StateDir,
  { tenants, secrets, namespaces, draining = { tenants: [], secrets: [] } }: Snapshot,
): Promise<void> {
  const all = [...tenants, ...draining.tenants];
  const wanted = new Set(all.flatMap(secretsOf));
  // What the files say goes before what is remembered.
  const known = new Map(
    [...draining.secrets, ...secrets].map((secret) => [identityOf(secret.metadata), secret]),
  );
  const items = [
    ...all.map(({ metadata, spec }) => ({ apiVersion, kind: "Tenant", metadata, spec })),
    ...[...known]
      .filter(([id]) => wanted.has(id))
      .map(([, { metadata, data }]) => ({ apiVersion: "v1", kind: "Secret", metadata, data: encoded(data) })),
    ...[...ofTenants(all, namespaces)].map(([name, labels]) => ({
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

function itemsIn(text: string): unknown[] {
  try {
    const items = fieldOf(JSON.parse(text), "items");
    return Array.isArray(items) ? items : [];
  } catch {
    return [];
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
