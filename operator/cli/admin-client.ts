/**
 * Finds the admin port of a running Mailboat and asks it: `--url`, else what local mode wrote down, else the cluster of the kubeconfig.
 * Fails with CommandError: nothing running, refused, not found.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import {
  type Endpoint,
  firstPool,
  isCalled,
  parseEndpoint,
  type PoolEndpoint,
} from "#operator/local/endpoint.ts";
import type { ClusterOptions, ClusterPool } from "./cluster.ts";
import { CommandError, messageOf } from "./command-io.ts";

export interface ServerOptions extends ClusterOptions {
  readonly url?: string;
  /** Absent: `defaultState`, and what is not there may be in a cluster. */
  readonly state?: string;
  readonly tokenFile?: string;
}

export interface AdminClient {
  get(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<unknown>;
  /** As `get`, but undefined when there is no such thing. */
  find(path: string): Promise<unknown>;
  post(path: string, body: unknown): Promise<unknown>;
}

/** A pool to ask. */
export interface PoolAdmin {
  /** `namespace/name`, or what `--url` says. */
  readonly name: string;
  readonly admin: AdminClient;
}

const requestTimeoutMs = 15_000;
const defaultState = ".mailboat";
const tokenVariable = "MAILBOAT_ADMIN_TOKEN";

/** Options by which a command finds the server. */
export function addServerOptions(command: Command): Command {
  return addPlaceOptions(command)
    .option("--url <url>", "admin address, such as http://127.0.0.1:8026 (default: what local mode wrote)")
    .option(
      "--token-file <file>",
      "file with the admin token (default: local mode's; or MAILBOAT_ADMIN_TOKEN; in a cluster the pool's Secret)",
    )
    .option(
      "--pool <name>",
      "pool to ask where there are several (namespace/name; default: all of them, or the one that the selection is in)",
    );
}

/** How every command that asks a server finds it. */
export function addPlaceOptions(command: Command): Command {
  return command
    .option("--state <dir>", `state folder of local mode (default: ${defaultState})`)
    .option("--kubeconfig <file>", "cluster to look in (default: as kubectl does, where no local mode is)")
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("-n, --namespace <ns>", "namespace of the pool in the cluster (default: any)");
}

/** Local mode's record; undefined = there is none, or a cluster was asked for. @throws CommandError when `--state` names a folder without one */
export async function findEndpoint(options: ServerOptions): Promise<Endpoint | undefined> {
  const { state, kubeconfig, context, namespace } = options;
  if ([kubeconfig, context, namespace].some((value) => value !== undefined)) return undefined;
  if (state !== undefined) return readEndpoint(state);
  return readEndpoint(defaultState).catch(() => undefined);
}

type PlaceOptions = ClusterOptions & { readonly state?: string };

/** The pool in the cluster. @throws CommandError that also says where local mode was looked for */
export async function findPool(options: PlaceOptions): Promise<ClusterPool> {
  const { connectPool } = await import("./cluster.ts");
  return connectPool(options).catch((error: unknown) => nowhere(options, error));
}

function nowhere({ kubeconfig, context }: PlaceOptions, error: unknown): never {
  if (kubeconfig !== undefined || context !== undefined) throw error;
  throw new CommandError(
    `Cannot find a running Mailboat: expected ${join(defaultState, "endpoint.json")} of a running "mailboat local" (--state, --url) or a cluster; got none, and of the cluster: ${messageOf(error)}`,
  );
}

/** @throws CommandError when no local mode has written one there */
async function readEndpoint(state: string): Promise<Endpoint> {
  const file = join(state, "endpoint.json");
  const text = await readFile(file, "utf8").catch(() => undefined);
  const endpoint = text === undefined ? undefined : parseEndpoint(text);
  if (endpoint !== undefined) return endpoint;
  const got = text === undefined ? "no such file" : "something else";
  throw new CommandError(
    `Cannot find a running Mailboat: expected ${file} of a running "mailboat local" (or --url), got ${got}`,
  );
}

/** The pool of `--url` or `--pool`, else all that there are: one at least. @throws CommandError */
export async function connectPools(options: ServerOptions): Promise<readonly PoolAdmin[]> {
  const { url, pool } = options;
  if (url !== undefined) return [{ name: url, admin: adminAt(url, await readToken(options)) }];
  const endpoint = await findEndpoint(options);
  if (endpoint === undefined) return clusterPools(options);
  const token = await readToken(options, endpoint);
  const pools = pool === undefined ? endpoint.pools : [poolOf(endpoint, pool)];
  return pools.map((one) => ({ name: one.pool, admin: adminAt(`http://${one.admin}`, token) }));
}

function adminAt(base: string, token: string): AdminClient {
  if (!URL.canParse(base))
    throw new CommandError(`Cannot use --url: expected http://HOST:PORT, got "${base}"`, 2);
  return {
    get(path, query = {}) {
      const url = new URL(path, base);
      for (const [name, value] of Object.entries(query))
        if (value !== undefined) url.searchParams.set(name, value);
      return ask(url, { method: "GET", token });
    },
    find: (path) => ask(new URL(path, base), { method: "GET", token, missing: undefined }),
    post: (path, body) => ask(new URL(path, base), { method: "POST", token, body: JSON.stringify(body) }),
  };
}

async function clusterPools(options: ServerOptions): Promise<readonly PoolAdmin[]> {
  const token = options.tokenFile === undefined ? process.env[tokenVariable] : await readToken(options);
  const [{ connectPools: connect }, { createClusterAdmin }] = await Promise.all([
    import("./cluster.ts"),
    import("./cluster-admin.ts"),
  ]);
  const pools = await connect(options).catch((error: unknown) => nowhere(options, error));
  return pools.map((pool) => ({
    name: `${pool.namespace}/${pool.name}`,
    admin: createClusterAdmin(pool, token),
  }));
}

/** The pool of local mode that is named, else its first. @throws CommandError when several or none have that name */
export function poolOf(endpoint: Endpoint, pool: string | undefined): PoolEndpoint {
  if (pool === undefined) return firstPool(endpoint);
  const found = endpoint.pools.filter((one) => isCalled(one.pool, pool));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  const names = endpoint.pools.map(({ pool: name }) => name).join(", ");
  throw new CommandError(`Cannot choose the pool: expected one of ${names}, got "${pool}"`);
}

async function readToken(options: ServerOptions, endpoint?: Endpoint): Promise<string> {
  const file = options.tokenFile ?? endpoint?.adminTokenFile;
  if (file === undefined) return process.env[tokenVariable] ?? "";
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    throw new CommandError(`Cannot read the admin token: expected a file, got ${messageOf(error)}`);
  }
}

async function ask(
  url: URL,
  request: { method: string; token: string; body?: string; missing?: undefined },
): Promise<unknown> {
  const { method, token, body } = request;
  const headers: Record<string, string> = { authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  const init = {
    method,
    headers,
    signal: AbortSignal.timeout(requestTimeoutMs),
    ...(body === undefined ? {} : { body }),
  };
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    throw new CommandError(
      `Cannot reach ${url.origin}: expected a running Mailboat, got ${messageOf(error)}`,
    );
  }
  const text = await response.text();
  if (response.status === 404 && "missing" in request) return request.missing;
  if (!response.ok) throw new CommandError(refusalText(url, response.status, text));
  return text === "" ? {} : parseJson(text, url);
}

function parseJson(text: string, url: URL): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CommandError(
      `Cannot read the answer of ${url.origin}: expected JSON, got "${text.slice(0, 60)}"`,
    );
  }
}

/** The server's own words when it sent some. */
function refusalText(url: URL, status: number, text: string): string {
  if (status === 401 || status === 403)
    return `Cannot use ${url.origin}: expected its admin token (--token-file), got one that it refuses`;
  const said = /"(?:error|message)":("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  return `Cannot ask ${url.origin} for ${url.pathname}: expected an answer, got ${status}${said === undefined ? "" : ` (${String(JSON.parse(said))})`}`;
}
