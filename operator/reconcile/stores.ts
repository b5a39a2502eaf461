/**
 * Everything that the operator watches, in memory, over all watched namespaces; children of pools also by their pool.
 * Reading never fails; what is not synced yet is not there.
 */
import type { KubeObject, Reflector, ResourceType } from "#operator/kube/types.ts";
import { poolLabel } from "#operator/resources/object.ts";
import { kinds } from "./kinds.ts";
import { trimmed, trimmedPod, trimmedSecret, trimmedTenant } from "./trims.ts";

interface WatchOptions {
  readonly type: ResourceType;
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly metadataOnly?: boolean;
  /** Takes away what nobody here reads. */
  readonly trim?: (object: KubeObject) => KubeObject;
  onChange(change: Change): void;
}

export interface Change {
  /** "namespace/name". */
  readonly key: string;
  readonly before: KubeObject | undefined;
  readonly after: KubeObject | undefined;
  readonly isInitial: boolean;
}

export type Name = keyof typeof kinds;

export interface StoresOptions {
  /** Starts a reflector (operator/kube's). */
  watch(options: WatchOptions): Reflector;
  /** Absent: the whole cluster. */
  readonly namespaces?: readonly string[] | undefined;
  onChange(name: Name, change: Change): void;
  /** A tenant's spec as it is kept by who reads it; undefined: nobody does. */
  tenantSpec(tenant: KubeObject): object | undefined;
}

export interface Stores {
  get(name: Name, key: string): KubeObject | undefined;
  values(name: Name): Iterable<KubeObject>;
  /** Live children of a pool ("namespace/name") by "Kind/name"; of Pods those of `podsOf`. */
  childrenOf(pool: string): ReadonlyMap<string, KubeObject>;
  podsOf(pool: string): ReadonlyMap<string, KubeObject>;
  isSynced(): boolean;
  whenSynced(): Promise<void>;
  /** Which kinds are not known yet, or were last heard of longer ago than this. */
  notFresh(staleMs: number): string[];
  /** For metrics. */
  readings(): { readonly kind: string; readonly objects: number; readonly silentSeconds: number }[];
  /** The newest version that is reflected of what is in that namespace; undefined: it is not watched. */
  resourceVersion(name: Name, namespace: string): string | undefined;
  /** Whether namespaces are watched. */
  readonly isClusterWide: boolean;
  /** Begins or ends to watch PodMonitors: a kind that may be made, or taken away, while the operator runs. */
  watchPodMonitors(isServed: boolean): void;
  /** Whether they are. */
  hasPodMonitors(): boolean;
  stop(): void;
}

interface Watched {
  readonly name: Name;
  readonly labelSelector?: string;
  readonly metadataOnly?: boolean;
}

/** Pools' pods alone: their proxies say nothing of the configuration. */
const podSelector = "app.kubernetes.io/managed-by=mailboat,app.kubernetes.io/component=pod";

const always: readonly Watched[] = [
  { name: "pools" },
  { name: "shapes" },
  { name: "tenants" },
  // All of them: which ones are referred to changes, and their metadata is small.
  { name: "secrets", metadataOnly: true },
  { name: "deployments", labelSelector: poolLabel },
  { name: "pods", labelSelector: podSelector },
  { name: "configMaps", labelSelector: poolLabel, metadataOnly: true },
  { name: "services", labelSelector: poolLabel, metadataOnly: true },
  { name: "serviceAccounts", labelSelector: poolLabel, metadataOnly: true },
  { name: "statefulSets", labelSelector: poolLabel, metadataOnly: true },
  { name: "budgets", labelSelector: poolLabel, metadataOnly: true },
  { name: "networkPolicies", labelSelector: poolLabel, metadataOnly: true },
];

export function openStores(options: StoresOptions): Stores {
  const { namespaces } = options;
  const isClusterWide = namespaces === undefined;
  const children = createIndex();
  const pods = createIndex();
  const reflectors = new Map<Name, Reflector[]>();
  const trims: Partial<Record<Name, (object: KubeObject) => KubeObject>> = {
    tenants: (tenant) => trimmedTenant(tenant, options.tenantSpec),
    secrets: trimmedSecret,
    pods: trimmedPod,
  };
  const open = ({ name, ...rest }: Watched): void => {
    const type = kinds[name];
    const onChange = (change: Change): void => {
      if (name === "pods") pods.note(type.kind, change);
      else children.note(type.kind, change);
      options.onChange(name, change);
    };
    const scopes = isClusterWide ? [{}] : namespaces.map((namespace) => ({ namespace }));
    const trim = trims[name] ?? trimmed;
    reflectors.set(
      name,
      scopes.map((scope) => options.watch({ type, ...rest, ...scope, trim, onChange })),
    );
  };
  for (const watched of always) open(watched);
  if (isClusterWide) open({ name: "namespaces", metadataOnly: true });
  const stopPodMonitors = (): void => {
    for (const one of reflectors.get("podMonitors") ?? []) {
      one.stop();
      for (const [key, before] of one.store)
        children.note(kinds.podMonitors.kind, { key, before, after: undefined, isInitial: false });
    }
    reflectors.delete("podMonitors");
  };
  const all = (): Reflector[] => [...reflectors.values()].flat();
  return {
    isClusterWide,
    get(name, key) {
      for (const { store } of reflectors.get(name) ?? []) {
        const object = store.get(key);
        if (object !== undefined) return object;
      }
      return undefined;
    },
    *values(name) {
      for (const { store } of reflectors.get(name) ?? []) yield* store.values();
    },
    childrenOf: children.of,
    podsOf: pods.of,
    // A kind that came late holds nothing up.
    isSynced: () =>
      [...reflectors].every(([name, ones]) => name === "podMonitors" || ones.every((one) => one.synced())),
    whenSynced: async () => void (await Promise.all(all().map((one) => one.whenSynced()))),
    notFresh: (staleMs) =>
      [...reflectors].flatMap(([name, ones]) => {
        if (!ones.every((one) => one.synced())) return [`${name}: not read yet`];
        const silentMs = Math.max(0, ...ones.map((one) => one.silentMs()));
        return silentMs > staleMs ? [`${name}: nothing heard for ${Math.round(silentMs / 1000)} s`] : [];
      }),
    readings: () =>
      [...reflectors].map(([name, ones]) => ({
        kind: kinds[name].kind,
        objects: ones.reduce((sum, { store }) => sum + store.size, 0),
        silentSeconds: Math.max(0, ...ones.map((one) => one.silentMs())) / 1000,
      })),
    watchPodMonitors(isServed) {
      if (!isServed) stopPodMonitors();
      else if (!reflectors.has("podMonitors"))
        open({ name: "podMonitors", labelSelector: poolLabel, metadataOnly: true });
    },
    hasPodMonitors: () => reflectors.has("podMonitors"),
    resourceVersion(name, namespace) {
      // One that watches all namespaces stands for each; else they are in the order of their namespaces.
      const index = isClusterWide ? 0 : namespaces.indexOf(namespace);
      return reflectors.get(name)?.[index]?.resourceVersion();
    },
    stop() {
      for (const one of all()) one.stop();
    },
  };
}

interface Index {
  note(kind: string, change: Change): void;
  of(pool: string): ReadonlyMap<string, KubeObject>;
}

const nothing: ReadonlyMap<string, KubeObject> = new Map();

/** Objects by the pool that their label names. */
function createIndex(): Index {
  const byPool = new Map<string, Map<string, KubeObject>>();
  return {
    note(kind, { before, after }) {
      const [earlier, now] = [before, after].map((one) => (one === undefined ? undefined : poolOfLabel(one)));
      if (earlier !== undefined && before !== undefined) {
        const group = byPool.get(earlier);
        group?.delete(`${kind}/${before.metadata.name}`);
        if (group?.size === 0) byPool.delete(earlier);
      }
      if (now === undefined || after === undefined) return;
      const group = byPool.get(now) ?? new Map<string, KubeObject>();
      byPool.set(now, group);
      group.set(`${kind}/${after.metadata.name}`, after);
    },
    of: (pool) => byPool.get(pool) ?? nothing,
  };
}

export function poolOfLabel({ metadata }: KubeObject): string | undefined {
  const name = metadata.labels?.[poolLabel];
  return name === undefined ? undefined : `${metadata.namespace ?? ""}/${name}`;
}

export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}
