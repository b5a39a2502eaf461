/** The resources local mode runs: what was read from files, fitted to one machine, compiled. Pure; what is wrong is an issue. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { identityOf } from "#crds/api/v1alpha1/metadata.ts";
import type { Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import { poolOf } from "#crds/api/v1alpha1/tenant.ts";
import type { Issue } from "#crds/values/issue.ts";
import { compile, type CompiledPool } from "#operator/compile/compile.ts";
import { unlabelledTenants, withLabels } from "#operator/gather/namespaces.ts";
import type { Gathered } from "#operator/gather/resources.ts";
import type { Login } from "./credentials.ts";
import { drainingAfter, type LocalDraining, withDraining } from "./draining.ts";

export interface LocalResources {
  /** In the order of their ports. */
  readonly pools: readonly CompiledPool[];
  /** What was compiled: the files' resources and the tenants that drain. A tenant names the pool that it is in, or was in last. */
  readonly snapshot: Snapshot;
  readonly draining: LocalDraining;
  readonly logins: readonly Login[];
  /** Documents that could not be read at all: what they said before must stay in force. */
  readonly unreadable: readonly Issue[];
  /** What the compiler left out, as the operator would. */
  readonly refused: readonly Issue[];
}

export interface LocalSettings {
  /** URLs, with commas between them, of the NATS servers that take the place of `spec.queue.servers`. */
  readonly nats: string;
  /** Local mode's own server is alone: streams have one copy. */
  readonly singleServer: boolean;
  readonly pods: number | undefined;
  readonly generation: number;
  /** ms since 1970. */
  readonly now: number;
}

/** What is in force before the files are read. */
export type Before = Pick<LocalResources, "snapshot" | "draining">;

export function loadResources(gathered: Gathered, settings: LocalSettings, before: Before): LocalResources {
  const after = fitted(gathered.snapshot, settings);
  const draining = drainingAfter(before.draining, { before: before.snapshot, after, now: settings.now });
  const homes = new Map(before.snapshot.tenants.map((one) => [identityOf(one.metadata), poolOf(one)]));
  const snapshot = { ...withDraining(after, draining), homes };
  // Without its Namespace a tenant is not let in, as one whose Secret is not there has no login: said, and never guessed.
  const unlabelled = new Map(unlabelledTenants(snapshot).map(({ issue }) => [issue.source, issue]));
  const compiled = compile(withLabels(snapshot, []), { generation: settings.generation });
  return {
    pools: compiled.pools,
    snapshot: { ...snapshot, tenants: settled(snapshot, compiled.pools) },
    draining,
    logins: loginsOf(after, compiled.pools),
    unreadable: gathered.issues,
    refused: compiled.issues.map((issue) =>
      issue.reason === "RefNotPermitted" ? (unlabelled.get(issue.source ?? "") ?? issue) : issue,
    ),
  };
}

/** Where the kernel cannot share a port among processes, a pool has one pod. */
export const sharesPorts = ["linux", "freebsd", "dragonfly", "sunos", "aix"].includes(process.platform);

function fitted(snapshot: Snapshot, { nats, singleServer, pods }: LocalSettings): Snapshot {
  const pools = snapshot.pools.map((pool) => {
    const copies: SendingPoolSpec["queue"]["replicas"] = singleServer ? 1 : pool.spec.queue.replicas;
    const queue = { ...pool.spec.queue, servers: nats.split(","), replicas: copies };
    const replicas = sharesPorts ? (pods ?? pool.spec.replicas) : 1;
    return { ...pool, spec: { ...pool.spec, queue, replicas } };
  });
  return { ...snapshot, pools };
}

/** Each with the pool that it is in, where it names one that cannot take it; of one that is in none, the pool that it was in. */
function settled(
  { tenants, homes }: Pick<Snapshot, "tenants" | "homes">,
  pools: readonly CompiledPool[],
): Snapshot["tenants"] {
  const places = placesIn(pools);
  return tenants.map((tenant) => {
    const id = identityOf(tenant.metadata);
    const place = places.get(id)?.pool ?? homes?.get(id);
    if (place === undefined || place === poolOf(tenant)) return tenant;
    const [namespace = "", name = ""] = place.split("/");
    return { ...tenant, spec: { ...tenant.spec, poolRef: { namespace, name } } };
  });
}

function placesIn(pools: readonly CompiledPool[]): Map<string, CompiledPool> {
  return new Map(pools.flatMap((pool) => [...pool.tenants.keys()].map((id) => [id, pool])));
}

/** Every login in force that has a username and a password, with an address it may send from: what an older tenant has is not among them. */
function loginsOf(snapshot: Snapshot, pools: readonly CompiledPool[]): Login[] {
  const decoder = new TextDecoder();
  const secrets = new Map(snapshot.secrets.map((secret) => [identityOf(secret.metadata), secret]));
  const places = placesIn(pools);
  return snapshot.tenants.flatMap(({ metadata, spec }) => {
    const tenant = identityOf(metadata);
    const place = places.get(tenant);
    if (place === undefined) return [];
    const config = place.tenants.get(tenant)?.config;
    const owned = new Set(config?.domains.map(({ name }) => name));
    const accepted = new Set(config?.credentials.map(({ name }) => name));
    const domain = spec.domains.find(({ name }) => owned.has(name));
    return (spec.credentials ?? []).flatMap(({ name: credential, secretRef }) => {
      if (!accepted.has(credential)) return [];
      const secret = secrets.get(identityOf({ namespace: metadata.namespace, name: secretRef.name }));
      const [username, password] = ["username", "password"].map((key) => secret?.data.get(key));
      if (username === undefined || password === undefined) return [];
      return [
        {
          tenant,
          pool: place.pool,
          username: decoder.decode(username),
          password: decoder.decode(password),
          from: domain === undefined ? undefined : `test@${domain.name}`,
        },
      ];
    });
  });
}
