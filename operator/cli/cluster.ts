/**
 * A pool in a cluster, as commands reach it: by the kubeconfig, through the API server's proxy, with the rights of whoever asks. Fails with
 * CommandError: no cluster, no such pool, no right to it.
 */
import { createAccess } from "#operator/kube/access.ts";
import { systemClock } from "#operator/kube/clock.ts";
import { KubeError } from "#operator/kube/errors.ts";
import { collectionPath, objectPath } from "#operator/kube/paths.ts";
import { askService, type ServiceRequest } from "#operator/kube/service-proxy.ts";
import { createTransport } from "#operator/kube/transport.ts";
import type { ObjectRef, ResourceType } from "#operator/kube/types.ts";
import { kinds } from "#operator/reconcile/kinds.ts";
import { childNames } from "#operator/resources/object.ts";
import { podPorts } from "#operator/resources/ports.ts";
import { CommandError, messageOf } from "./command-io.ts";

export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  /** Where pools are looked for; absent: everywhere. */
  readonly namespace?: string;
  /** `name` or `namespace/name`. */
  readonly pool?: string;
}

export interface ClusterPool {
  readonly namespace: string;
  readonly name: string;
  /** Asks the pool's admin port, or its injection port. Rejects with KubeError. */
  ask(port: "admin" | "http", request: ServiceRequest): Promise<unknown>;
  /** One value of a Secret. */
  secretValue(ref: ObjectRef, key: string): Promise<string>;
  /** Tenants of the cluster (of `namespace`), as they are. */
  tenants(): Promise<readonly ClusterObject[]>;
}

export interface ClusterObject {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec?: unknown;
  readonly status?: unknown;
}

const requestTimeoutMs = 15_000;

/** The one that is named, else the only one. @throws CommandError when there are none, or several */
export async function connectPool(options: ClusterOptions): Promise<ClusterPool> {
  const found = await connectPools(options);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw unchosen(options, found);
}

/** The one that is named, else all of them. @throws CommandError when there are none, or several have the name */
export async function connectPools(options: ClusterOptions): Promise<readonly ClusterPool[]> {
  const access = accessOf(options);
  const transport = createTransport({ access, clock: systemClock, timeoutMs: requestTimeoutMs });
  const get = (path: string): Promise<unknown> => transport.json({ method: "GET", path }).catch(explain);
  const list = async (type: ResourceType, namespace?: string): Promise<readonly ClusterObject[]> =>
    ((await get(collectionPath(type, namespace))) as { items: ClusterObject[] }).items;

  const found = await findPools(options, (from) => list(kinds.pools, from));
  return found.map(({ namespace, name }) => ({
    namespace,
    name,
    ask: (port, request) => askService(transport, serviceOf({ namespace, name }, port), request),
    async secretValue(ref, key) {
      const { data } = (await get(objectPath(kinds.secrets, ref))) as { data?: Record<string, string> };
      const value = data?.[key];
      if (value === undefined)
        throw new CommandError(
          `Cannot use Secret ${ref.namespace}/${ref.name}: expected the key ${key}, got none`,
        );
      return Buffer.from(value, "base64").toString();
    },
    tenants: () => list(kinds.tenants, options.namespace),
  }));
}

function accessOf({ kubeconfig, context }: ClusterOptions): ReturnType<typeof createAccess> {
  try {
    return createAccess({ kubeconfig, context, clock: systemClock });
  } catch (error) {
    throw new CommandError(messageOf(error));
  }
}

function serviceOf(
  { namespace, name }: { namespace: string; name: string },
  port: "admin" | "http",
): { namespace: string; name: string; port: number } {
  const service = port === "admin" ? childNames.admin(name) : childNames.main(name);
  return { namespace, name: service, port: podPorts[port] };
}

interface PoolName {
  readonly namespace: string;
  readonly name: string;
}

async function findPools(
  options: ClusterOptions,
  list: (namespace: string | undefined) => Promise<readonly ClusterObject[]>,
): Promise<readonly PoolName[]> {
  const [first = "", second] = (options.pool ?? "").split("/");
  const namespace = second === undefined ? options.namespace : first;
  const name = second ?? first;
  if (name !== "" && namespace !== undefined) return [{ namespace, name }];
  const found = (await list(namespace)).map(({ metadata }) => metadata);
  const fits = found.filter((pool) => name === "" || pool.name === name);
  if (fits.length === 0 || (name !== "" && fits.length > 1)) throw unchosen(options, found);
  return fits;
}

function unchosen({ pool = "" }: ClusterOptions, found: readonly PoolName[]): CommandError {
  const names = found.map(({ namespace, name }) => `${namespace}/${name}`).join(", ");
  const got = pool === "" ? (found.length === 0 ? "no pool at all" : "no --pool") : `"${pool}"`;
  return new CommandError(
    `Cannot choose the pool: expected --pool with one of ${names || "none"}, got ${got}`,
  );
}

/** The API server's own words. */
function explain(error: unknown): never {
  const hint =
    error instanceof KubeError && error.status === 403 ? " (--namespace and --pool ask for less)" : "";
  throw new CommandError(`${messageOf(error)}${hint}`);
}
