/**
 * What only the leader before us knew, read back out of what it wrote into the pools' children, once, before anything is compiled: the
 * DKIM keys of tenants that are going whose Secrets have gone before them. Rejects when the API server cannot be asked; what cannot be
 * read counts as not there.
 */
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource, SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { parseKeySlot } from "#crds/pod-config/parse.ts";
import type { DkimKey } from "#crds/pod-config/schema.ts";
import { keySlotOf, slotFile } from "#crds/pod-config/slots.ts";
import { unpackedSlot } from "#operator/compile/files.ts";
import type { ObjectGatherer } from "#operator/gather/objects.ts";
import { secretsOfTenant } from "#operator/gather/references.ts";
import { KubeError } from "#operator/kube/errors.ts";
import type { KubeClient, KubeObject, Log } from "#operator/kube/types.ts";
import { childNames } from "#operator/resources/object.ts";
import { hasFinalizer } from "./finalizer.ts";
import { inParallel } from "./in-parallel.ts";
import { kinds } from "./kinds.ts";
import { fieldOf } from "./pods.ts";
import type { SecretValues } from "./secrets.ts";
import type { Stores } from "./stores.ts";

export interface InheritanceOptions {
  readonly stores: Pick<Stores, "get" | "values">;
  readonly gatherer: Pick<ObjectGatherer, "tenant">;
  readonly client: Pick<KubeClient, "get">;
  readonly secrets: Pick<SecretValues, "inherit">;
  readonly log: Log;
}

const atATime = 8;

export async function takeInheritance({ stores, gatherer, ...to }: InheritanceOptions): Promise<void> {
  const going = [...stores.values("tenants")].flatMap((tenant) => {
    const isGoing = tenant.metadata.deletionTimestamp !== undefined && hasFinalizer(tenant);
    return isGoing ? (gatherer.tenant(tenant) ?? []) : [];
  });
  const bereft = going.filter((tenant) =>
    secretsOfTenant(tenant).some((key) => stores.get("secrets", key) === undefined),
  );
  await inParallel(bereft, { atATime }, async (tenant) => {
    const keys = await writtenKeys(poolOf(tenant), identityOf(tenant.metadata), to);
    for (const secret of secretsWith(keys, tenant)) to.secrets.inherit(identityOf(secret.metadata), secret);
  });
}

function poolOf({ metadata, spec }: Resource<TenantSpec>): string {
  return `${spec.poolRef.namespace ?? metadata.namespace}/${spec.poolRef.name}`;
}

type Reading = Pick<InheritanceOptions, "client" | "log">;

/** The tenant's keys in its slot of the pool. */
async function writtenKeys(pool: string, tenant: string, reading: Reading): Promise<DkimKey[]> {
  const [namespace, name = ""] = pool.split("/");
  const slot = keySlotOf(tenant);
  const ref = { namespace, name: childNames.keySlot(name, Number(slot)) };
  const object = await readIfAllowed(() => reading.client.get(kinds.secrets, ref));
  const text = fieldOf(object?.["data"], slotFile(slot));
  if (typeof text !== "string") return [];
  try {
    const parsed = parseKeySlot(unpackedSlot(Buffer.from(text, "base64")));
    return parsed.ok ? parsed.value.dkim.filter((key) => key.tenant === tenant) : [];
  } catch {
    // No word of the cause, which may quote what is in there.
    reading.log.warn("written keys not readable", { pool, slot });
    return [];
  }
}

async function readIfAllowed(read: () => Promise<KubeObject | undefined>): Promise<KubeObject | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof KubeError && error.status === 403) return undefined;
    throw error;
  }
}

/** The Secrets that the tenant refers to, as far as the keys tell. */
function secretsWith(keys: readonly DkimKey[], { metadata, spec }: Resource<TenantSpec>): SecretResource[] {
  const values = new Map<string, Map<string, Uint8Array>>();
  for (const { name: domain, dkim = [] } of spec.domains)
    for (const { selector, secretRef } of dkim) {
      const found = keys.find((key) => key.domain === domain && key.selector === selector);
      if (found === undefined) continue;
      const data = values.get(secretRef.name) ?? new Map<string, Uint8Array>();
      values.set(secretRef.name, data.set(secretRef.key, Buffer.from(found.der, "base64")));
    }
  const { namespace } = metadata;
  return [...values].map(([name, data]) => ({
    source: `Secret ${namespace}/${name}`,
    metadata: { name, namespace },
    data,
  }));
}
