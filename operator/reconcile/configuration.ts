/**
 * What is in force: compiled anew whenever something that it comes from changes, the first edit at once and more of them
 * together (decisions.md 19). Numbers the generations of each pool. Writes nothing; never throws.
 */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource, Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { TenantSpec } from "#crds/api/v1alpha1/tenant.ts";
import { canonicalJson } from "#crds/pod-config/encode.ts";
import { compile } from "#operator/compile/compile.ts";
import { refusal, type ResourceStatus, statusOf } from "#operator/compile/problems.ts";
import type { Held, ObjectGatherer, Unreadable } from "#operator/gather/objects.ts";
import { secretsOfPool, secretsOfTenant } from "#operator/gather/references.ts";
import type { Clock, KubeObject, Log } from "#operator/kube/types.ts";
import { hasFinalizer } from "./finalizer.ts";
import type { FormerPools } from "./former-pools.ts";
import type { Inheritance } from "./inheritance.ts";
import { kinds, marks } from "./kinds.ts";
import {
  type Numbered,
  numbered,
  numberedIn,
  placeKey,
  type PoolConfig,
  placeTenants,
  type TenantPlace,
} from "./numbering.ts";
import { type Cause, createPacer } from "./pacer.ts";
import type { SecretValues } from "./secrets.ts";
import { keyOf, type Stores } from "./stores.ts";

export type Kind = ResourceStatus["kind"];

export interface Configuration {
  /** Something that it comes from has changed. */
  touch(cause?: Cause): void;
  /** undefined: the pool could not be compiled, or was not yet. */
  pool(key: string): PoolConfig | undefined;
  poolSpec(key: string): Resource<SendingPoolSpec> | undefined;
  /** undefined: the tenant is in no pool. */
  tenant(key: string): TenantPlace | undefined;
  /** Of a tenant that has left the pool and drains there. */
  leaver(key: string, pool: string): TenantPlace | undefined;
  verdict(kind: Kind, key: string): ResourceStatus["status"] | undefined;
  /** Whether this release's schema takes the tenant. */
  isReadable(tenant: KubeObject): boolean;
  /** How long the pods may take over a configuration of this age, before it is worth a word in the statuses of its tenants. */
  patienceMs(): number;
  /** Whether it was compiled at all. */
  isKnown(): boolean;
  stop(): void;
}

export interface ConfigurationOptions {
  readonly stores: Stores;
  readonly gatherer: ObjectGatherer;
  readonly secrets: SecretValues;
  readonly formerPools: FormerPools;
  /** Of use until the first compile; rejects when it has to be tried again. */
  readonly inheritance: Inheritance;
  readonly clock: Clock;
  readonly log: Log;
  /** What is in force of a resource, or the verdict on it, is another. */
  onChange(kind: Kind, key: string, isOneOfMany: boolean): void;
  /** Many resources are on their way in: compiling after each few of them would be for nothing. */
  isFilling(): boolean;
  /** How long a compile took. */
  observe(seconds: number): void;
}

const retryMs = 1000;
/** Changes that are no single edit, so that edits go first. */
const many = 50;
/** A young configuration is most likely taken over in a moment, and then there is one status to write and not two; of many tenants in more than a moment. */
const patience = { usualMs: 3000, crowdMs: 20_000 } as const;

export function createConfiguration(options: ConfigurationOptions): Configuration {
  const { stores, gatherer, secrets, formerPools, clock, log } = options;
  let pools = new Map<string, PoolConfig>();
  let specs = new Map<string, Resource<SendingPoolSpec>>();
  let places = new Map<string, TenantPlace>();
  let leavers = new Map<string, TenantPlace>();
  let verdicts = new Map<string, ResourceStatus["status"]>();
  let isKnown = false;
  let stopped = false;
  /** What a leader before us took in: of no matter once we have compiled. */
  let inherited: ReadonlySet<string> | undefined;
  /** When many tenants were last new at once. */
  let crowdAt = Number.NEGATIVE_INFINITY;

  const takeOver = (snapshot: Snapshot, unreadable: readonly Unreadable[]): void => {
    const startedAt = clock.monotonic();
    const compiled = compile(snapshot, { generation: 0 });
    const next = new Map(
      compiled.pools.map((one) => {
        const before = pools.get(one.pool) ?? written(stores, one.pool);
        const config = numbered(one, before, startedAt);
        return [one.pool, { config, isNew: config.generation !== before?.generation }];
      }),
    );
    const placed = placeTenants("tenants", places, next);
    const changed = new Set(placed.changed.map((key) => `Tenant ${key}`));
    if (changed.size > many) crowdAt = startedAt;
    for (const [key, { config }] of next)
      if (pools.get(key)?.generation !== config.generation) changed.add(`SendingPool ${key}`);
    for (const key of pools.keys()) if (!next.has(key)) changed.add(`SendingPool ${key}`);
    const statuses = [...compiled.statuses, ...unreadable.map(verdictOnUnreadable)];
    const nextVerdicts = new Map(statuses.map((one) => [nameOf(one), one.status]));
    for (const [name, status] of nextVerdicts) if (!isSame(verdicts.get(name), status)) changed.add(name);
    pools = new Map([...next].map(([key, { config }]) => [key, config]));
    specs = new Map(snapshot.pools.map((pool) => [`${pool.metadata.namespace}/${pool.metadata.name}`, pool]));
    places = placed.places;
    for (const key of placed.changed) {
      const place = places.get(key);
      if (place !== undefined) formerPools.note(key, place.pool);
    }
    leavers = placeTenants("draining", leavers, next).places;
    verdicts = nextVerdicts;
    isKnown = true;
    inherited = undefined;
    options.observe((clock.monotonic() - startedAt) / 1000);
    // Pools first, which tenants wait for.
    for (const name of [...changed].sort()) {
      const [kind = "", key = ""] = name.split(" ");
      options.onChange(kind as Kind, key, changed.size > many);
    }
  };

  const inherit = (): ReadonlySet<string> =>
    new Set([...stores.values("tenants")].filter(hasFinalizer).map(keyOf));
  /** What a compile took in before. A verdict alone is not enough: one that could not be read has it as well, or its namesake of before. */
  const isInForce = (tenant: KubeObject): boolean =>
    hasFinalizer(tenant) &&
    (isKnown ? verdicts.has(`Tenant ${keyOf(tenant)}`) : inherited?.has(keyOf(tenant)) === true);

  /** Which Secrets are needed for what is in force, and which for what is to come; and those of tenants that are deleted: who has only moved may revoke a key. */
  const secretsWanted = () => {
    const [now, later] = [new Set<string>(), new Set<string>()];
    const going = new Set<string>();
    for (const tenant of stores.values("tenants")) {
      const parsed = gatherer.tenant(tenant);
      const wanted = isInForce(tenant) ? now : later;
      for (const key of parsed === undefined ? [] : secretsOfTenant(parsed)) {
        wanted.add(key);
        if (tenant.metadata.deletionTimestamp !== undefined) going.add(key);
      }
    }
    for (const pool of stores.values("pools")) {
      const parsed = gatherer.pool(pool);
      for (const key of parsed === undefined ? [] : secretsOfPool(parsed)) now.add(key);
    }
    return { now, later, going };
  };

  const run = async (takesNew: boolean): Promise<void> => {
    if (!stores.isSynced()) return;
    try {
      if (!isKnown) await options.inheritance.takeMoves();
      const wanted = secretsWanted();
      const isComplete = await secrets.refresh(wanted.now, wanted.later);
      if (stopped) return;
      // Without the values of Secrets that are there, logins and keys would be left out of the configuration.
      if (!isComplete) return void clock.after(retryMs, () => pacer.touch("edit"));
      if (!isKnown) await options.inheritance.takeKeys();
      if (stopped) return;
      // Reading may have taken a while, at the first time.
      const { going } = isKnown ? wanted : secretsWanted();
      // Tenants count from their finalizer on: what is compiled has to be drained before it may go.
      const isTaken = (tenant: KubeObject, parsed: Resource<TenantSpec>): boolean =>
        isInForce(tenant) ||
        (takesNew && hasFinalizer(tenant) && secretsOfTenant(parsed).every(secrets.isRead));
      const { snapshot, unreadable } = gatherer.gather(heldBy(stores, secrets.values()), isTaken);
      const draining = {
        tenants: formerPools.leavers(snapshot.tenants),
        secrets: secrets.former(going),
      };
      takeOver({ ...snapshot, draining, homes: formerPools.homes }, unreadable);
    } catch (error) {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error("compile failed", { error: String(error), stack });
      clock.after(retryMs, () => pacer.touch("edit"));
    }
  };
  const pacer = createPacer({ clock, run, isFilling: options.isFilling });

  return {
    touch(cause = "edit") {
      // Before any finalizer of ours is set.
      if (!isKnown) inherited ??= inherit();
      pacer.touch(cause);
    },
    pool: (key) => pools.get(key),
    poolSpec: (key) => specs.get(key),
    tenant: (key) => places.get(key),
    leaver: (key, pool) => leavers.get(placeKey(key, pool)),
    verdict: (kind, key) => verdicts.get(`${kind} ${key}`),
    isReadable: (tenant) => gatherer.tenant(tenant) !== undefined,
    patienceMs: () => (clock.monotonic() - crowdAt < patience.crowdMs ? patience.crowdMs : patience.usualMs),
    isKnown: () => isKnown,
    stop() {
      stopped = true;
      pacer.stop();
    },
  };
}

function heldBy(stores: Stores, secrets: Held["secrets"]): Held<KubeObject> {
  return {
    pools: stores.values("pools"),
    shapes: stores.values("shapes"),
    tenants: stores.values("tenants"),
    secrets,
    ...(stores.isClusterWide ? { namespaces: labelsOfNamespaces(stores) } : {}),
  };
}

function labelsOfNamespaces(stores: Stores): NonNullable<Held["namespaces"]> {
  const labels = new Map<string, Readonly<Record<string, string>>>();
  for (const one of stores.values("namespaces")) labels.set(keyOf(one), one.metadata.labels ?? {});
  return labels;
}

/** The newest edition that a leader before us wrote anything in. */
function written(stores: Stores, pool: string): Numbered | undefined {
  const found = [...stores.childrenOf(pool)]
    .filter(([name]) => name.startsWith(`${kinds.configMaps.kind}/`))
    .flatMap(([, { metadata }]) => numberedIn(metadata.annotations?.[marks.config]) ?? []);
  return found.sort((a, b) => b.generation - a.generation)[0];
}

function nameOf({ kind, namespace, name }: ResourceStatus): string {
  return `${kind} ${namespace}/${name}`;
}

function verdictOnUnreadable({ kind, identity, generation, issues }: Unreadable): ResourceStatus {
  const [namespace = "", name = ""] = identity.split("/");
  const problems = issues.map((issue) => refusal("Invalid", issue));
  return statusOf(kind, { namespace, name, generation }, { problems, fields: {} });
}

function isSame(a: object | undefined, b: object): boolean {
  return a === b || (a !== undefined && canonicalJson(a) === canonicalJson(b));
}
