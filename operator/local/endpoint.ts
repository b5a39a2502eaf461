/** Where a running local mode listens: the `ready` line, and STATE/endpoint.json where the other commands find it. Parsing returns issues. */
import ipaddr from "ipaddr.js";
import { z } from "zod";

const poolSchema = z.object({
  /** `namespace/name`. */
  pool: z.string(),
  /** HOST:PORT each. */
  smtp: z.string(),
  submission: z.string(),
  submissions: z.string(),
  http: z.string(),
  admin: z.string(),
  /** One per pod. */
  metrics: z.array(z.string()),
});

const endpointSchema = z.object({
  /** The pools in the order of their ports; the first has the base ports. */
  pools: z.array(poolSchema).min(1),
  nats: z.string(),
  /** Files by absolute path. */
  adminTokenFile: z.string(),
  credentialsFile: z.string(),
  ca: z.string(),
  pids: z.object({
    runner: z.number(),
    nats: z.number().optional(),
    pods: z.record(z.string(), z.number()),
  }),
});

export type PoolEndpoint = z.infer<typeof poolSchema>;
export type Endpoint = z.infer<typeof endpointSchema>;

/** @returns undefined when the text is not an endpoint record */
export function parseEndpoint(text: string): Endpoint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const result = endpointSchema.safeParse(value);
  return result.success ? result.data : undefined;
}

/** Whether `name`, with or without its namespace, means the pool `namespace/name`. */
export function isCalled(pool: string, name: string): boolean {
  return pool === name || pool.endsWith(`/${name}`);
}

/** HOST:PORT, with brackets around an IPv6 address. */
export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether a server that listens there listens on every address of this machine. */
export function isWildcard(bind: string): boolean {
  return ipaddr.isValid(bind) && ipaddr.process(bind).range() === "unspecified";
}

/**
 * Where programs on this machine reach what listens on `bind`: a wildcard is no place to connect to, and no certificate names it.
 * @example addressOf("0.0.0.0", 2525) === "127.0.0.1:2525"
 */
export function addressOf(bind: string, port: number): string {
  if (!isWildcard(bind)) return hostPort(bind, port);
  return hostPort(ipaddr.process(bind).kind() === "ipv4" ? "127.0.0.1" : "::1", port);
}

/** Where the admin port of local mode listens (decisions.md 8): on loopback, whatever `--bind` says. */
export function adminBindOf(bind: string): string {
  if (!ipaddr.isValid(bind)) return bind === "localhost" ? bind : "127.0.0.1";
  const address = ipaddr.process(bind);
  if (address.range() === "loopback") return bind;
  return address.kind() === "ipv4" ? "127.0.0.1" : "::1";
}

const listenerNames = ["smtp", "submission", "submissions", "http", "admin"] as const;

/** @example readyLine(pool) === "ready smtp=127.0.0.1:2525 submission=... metrics=127.0.0.1:9464,127.0.0.1:9465" */
export function readyLine(endpoint: Endpoint): string {
  return `ready ${fields(firstPool(endpoint))}`;
}

/** Lines about the pools after the first, said before the ready line. */
export function poolLines(endpoint: Endpoint): string[] {
  return endpoint.pools.slice(1).map((pool) => `pool ${pool.pool} ${fields(pool)}`);
}

/** The ready line as one JSON object; the first pool's addresses stand at its top. */
export function readyJson(endpoint: Endpoint): string {
  return JSON.stringify({ ready: true, ...firstPool(endpoint), ...endpoint });
}

function fields(pool: PoolEndpoint): string {
  const listeners = listenerNames.map((name) => `${name}=${pool[name]}`);
  return [...listeners, `metrics=${pool.metrics.join(",")}`].join(" ");
}

export function firstPool(endpoint: Endpoint): PoolEndpoint {
  const [first] = endpoint.pools;
  if (first === undefined) throw new Error("Cannot use an endpoint record: expected a pool, got none");
  return first;
}
