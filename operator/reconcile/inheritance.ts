/**
 * What only the leader before us knew, read back out of what it wrote into the pools' children, before anything is compiled: which
 * tenants are in a pool that they do not name any more, and the DKIM keys of those that are going whose Secrets have gone before them.
 * Rejects when the API server cannot be asked; what cannot be read counts as not there.
 */
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Resource, SecretResource } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf, type TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { parseKeySlot } from "#crds/pod-config/parse.ts";
import type { DkimKey } from "#crds/pod-config/schema.ts";
import { keySlotOf, slotFile, tenantSlotOf } from "#crds/pod-config/slots.ts";
import { unpackedSlot } from "#operator/compile/files.ts";
import type { ObjectGatherer } from "#operator/gather/objects.ts";
import { secretsOfTenant } from "#operator/gather/references.ts";
import { KubeError } from "#operator/kube/errors.ts";
import type { KubeClient, Log, ObjectRef, ResourceType } from "#operator/kube/types.ts";
import { childNames } from "#operator/resources/object.ts";
import { hasFinalizer } from "./finalizer.ts";
import type { FormerPools } from "./former-pools.ts";
import { inParallel } from "./in-parallel.ts";
import { kinds } from "./kinds.ts";
import { fieldOf } from "./pods.ts";
import type { SecretValues } from "./secrets.ts";
import { keyOf, type Stores } from "./stores.ts";

export interface InheritanceOptions {
  readonly stores: Pick<Stores, "get" | "values" | "childrenOf">;
  readonly gatherer: Pick<ObjectGatherer, "tenant">;
  readonly client: Pick<KubeClient, "get">;
  readonly secrets: Pick<SecretValues, "inherit">;
  readonly formerPools: Pick<FormerPools, "of" | "add" | "note" | "drop" | "homes">;
  readonly log: Log;
}

const atATime = 8;

export interface Inheritance {
  /** Who has left which pool; read once, whatever else has to be tried again. */
  takeMoves(): Promise<void>;
  /** The keys; when Secrets were read, for until then more of them may go. */
  takeKeys(): Promise<void>;
}

export function createInheritance(options: InheritanceOptions): Inheritance {
  const { stores, gatherer, formerPools } = options;
  let hasMoves = false;
  const tenantsNow = (): Resource<TenantSpec>[] => {
    const all = [...stores.values("tenants")].filter(hasFinalizer);
    return all.flatMap((tenant) => gatherer.tenant(tenant) ?? []);
  };
  return {
    async takeMoves() {
      if (hasMoves) return;
      const tenants = tenantsNow();
      // What is edited from here on is a move, also before the first compile.
      for (const tenant of tenants) formerPools.note(identityOf(tenant.metadata), poolOf(tenant));
      for (const pool of stores.values("pools")) await findLeavers(keyOf(pool), tenants, options);
      hasMoves = true;
    },
    takeKeys: () => findKeys(tenantsNow(), options),
  };
}

/**
 * Whoever stands in a pool's slots without naming the pool has left it, or, as itself, is there until a compile finds that the pool which
 * it names takes it. Slots in which only those can be that name the pool are not read.
 */
async function findLeavers(
  pool: string,
  tenants: readonly Resource<TenantSpec>[],
  { stores, formerPools, ...reading }: InheritanceOptions,
): Promise<void> {
  const others = tenants.filter((tenant) => poolOf(tenant) !== pool);
  const bySlot = Map.groupBy(others, ({ metadata }) => tenantSlotOf(identityOf(metadata)));
  const [namespace, name = ""] = pool.split("/");
  const children = stores.childrenOf(pool);
  const slots = [...bySlot]
    .map(([slot, theirs]) => ({
      slot,
      theirs,
      ref: { namespace, name: childNames.configSlot(name, Number(slot)) },
    }))
    .filter(({ ref }) => children.has(`${kinds.configMaps.kind}/${ref.name}`));
  await inParallel(slots, { atATime }, async ({ slot, theirs, ref }) => {
    const value = await readSlot({ type: kinds.configMaps, ref, field: "binaryData", slot }, reading);
    const written = fieldOf(value, "tenants");
    const there = new Map(Array.isArray(written) ? written.map((one) => [fieldOf(one, "id"), one]) : []);
    for (const tenant of theirs) {
      const id = identityOf(tenant.metadata);
      const one: unknown = there.get(id);
      if (one === undefined) continue;
      const named = poolOf(tenant);
      if (isGoing(one) || formerPools.homes.get(id) !== named) formerPools.add(id, pool);
      else {
        formerPools.note(id, pool);
        formerPools.drop(id, named);
      }
    }
  });
}

/** Of a tenant as it was written: it takes no new mail there. */
function isGoing(written: unknown): boolean {
  return fieldOf(written, "state") === "Reject" || fieldOf(written, "isGoing") === true;
}

async function findKeys(
  tenants: readonly Resource<TenantSpec>[],
  { stores, formerPools, secrets, ...reading }: InheritanceOptions,
): Promise<void> {
  const bereft = tenants.filter(
    (tenant) =>
      typeof tenant.metadata.deletionTimestamp === "string" &&
      secretsOfTenant(tenant).some((key) => stores.get("secrets", key) === undefined),
  );
  const wanted = bereft.map((tenant) => {
    const id = identityOf(tenant.metadata);
    const pools = [formerPools.homes.get(id) ?? poolOf(tenant), ...formerPools.of(id)];
    const slots = pools.map((pool) => writtenSlot(pool, keySlotOf(id)));
    return { tenant, id, slots };
  });
  // A namespace that ends may have thousands, which share 256 slots.
  const slots = new Map(wanted.flatMap((one) => one.slots).map((slot) => [slot.id, slot]));
  const keys = new Map<string, Map<string, DkimKey[]>>();
  await inParallel([...slots.values()], { atATime }, async (slot) => {
    const parsed = parseKeySlot(await readSlot(slot, reading));
    if (parsed.ok)
      keys.set(
        slot.id,
        Map.groupBy(parsed.value.dkim, ({ tenant }) => tenant),
      );
  });
  for (const one of wanted) {
    const theirs = one.slots.flatMap((slot) => keys.get(slot.id)?.get(one.id) ?? []);
    for (const secret of secretsWith(theirs, one.tenant))
      secrets.inherit(identityOf(secret.metadata), secret);
  }
}

type Reading = Pick<InheritanceOptions, "client" | "log">;

interface WrittenSlot {
  readonly type: ResourceType;
  readonly ref: ObjectRef;
  /** Where the object has its file. */
  readonly field: "data" | "binaryData";
  readonly slot: string;
}

/** undefined: it is not there, or not ours to read. */
async function readSlot({ type, ref, field, slot }: WrittenSlot, { client, log }: Reading): Promise<unknown> {
  const object = await client.get(type, ref).catch((error: unknown) => {
    if (error instanceof KubeError && error.status === 403) return undefined;
    throw error;
  });
  const text = fieldOf(object?.[field], slotFile(slot));
  if (typeof text !== "string") return undefined;
  try {
    return unpackedSlot(Buffer.from(text, "base64"));
  } catch {
    // No word of the cause, which may quote what is in there.
    log.warn("written slot not readable", { ...ref });
    return undefined;
  }
}

/** Where a pool's keys are. */
function writtenSlot(pool: string, slot: string): WrittenSlot & { readonly id: string } {
  const [namespace, name = ""] = pool.split("/");
  const ref = { namespace, name: childNames.keySlot(name, Number(slot)) };
  return { id: `${pool} ${slot}`, type: kinds.secrets, ref, field: "data", slot };
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
