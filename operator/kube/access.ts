/**
 * Which API server, and as whom: kubeconfig files, a pod's service account, exec plug-ins, client certificates, proxies, all by
 * @kubernetes/client-node. Throws when there is no cluster to be found; rejects when credentials cannot be had.
 */
import { createHash } from "node:crypto";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent, type RequestOptions } from "node:https";
import { KubeConfig } from "./client-node.ts";
import type { Clock } from "./types.ts";

export interface Access {
  /** `http:` or `https:`, host, port and perhaps a path. */
  readonly server: URL;
  /** Credentials of the moment. */
  credentials(): Promise<Credentials>;
  /** After a 401: forgets cached tokens and plug-in answers; false when that was done a moment ago. */
  renew(): boolean;
  close(): void;
}

interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly agent: HttpAgent;
}

export interface AccessOptions {
  /** Absent: KUBECONFIG, ~/.kube/config, a pod's service account, in kubectl's order. */
  readonly kubeconfig?: string | undefined;
  /** Absent: the current one of the file. */
  readonly context?: string | undefined;
  readonly clock: Clock;
}

/** Credentials are looked up again after this time; client-node itself reads a token file once a minute. */
const freshMs = 1000;
const renewEveryMs = 5000;
/** Idle connections that are kept: as many as there are writers and readers, or each burst would shake hands anew. */
const maxFreeSockets = 128;

export function createAccess({ kubeconfig, context, clock }: AccessOptions): Access {
  let config = load(kubeconfig, context);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`Cannot find a cluster: ${describe(config)}`);
  if (cluster.server.startsWith("http:") && !cluster.skipTLSVerify)
    throw new Error(
      `Cannot talk to ${cluster.server}: expected https, or insecure-skip-tls-verify in a kubeconfig; found no kubeconfig otherwise`,
    );
  const viaProxy = cluster.proxyUrl !== undefined && cluster.proxyUrl !== "";
  let renewedAt = Number.NEGATIVE_INFINITY;
  let known: { readonly at: number; readonly credentials: Promise<Credentials> } | undefined;
  let agent: { readonly material: string; readonly agent: HttpAgent } | undefined;

  const agentFor = (options: RequestOptions): HttpAgent => {
    // client-node keeps the first agent for ever, also after a plug-in has given a new certificate; only its way
    // through proxies is taken.
    if (viaProxy) return options.agent as HttpAgent;
    const { ca, cert, key, passphrase, servername, rejectUnauthorized } = options;
    const tls = { ca, cert, key, passphrase, servername, rejectUnauthorized };
    const material = createHash("sha256").update(JSON.stringify(tls)).digest("base64");
    if (agent?.material === material) return agent.agent;
    const given = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
    const pooling = { keepAlive: true, keepAliveMsecs: 15_000, maxFreeSockets };
    const next = cluster.server.startsWith("http:")
      ? new HttpAgent(pooling)
      : new HttpsAgent({ ...pooling, ...given });
    if (agent !== undefined) retire(agent.agent);
    agent = { material, agent: next };
    return next;
  };

  const look = async (): Promise<Credentials> => {
    const options: RequestOptions & { headers: Record<string, string> } = { headers: {} };
    await config.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers)) headers[name.toLowerCase()] = value;
    if (typeof options.auth === "string")
      headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
    return { headers, agent: agentFor(options) };
  };

  return {
    server: new URL(cluster.server),
    async credentials() {
      const now = clock.monotonic();
      if (known === undefined || now - known.at >= freshMs) {
        const credentials = look();
        known = { at: now, credentials };
        credentials.catch(() => {
          known = undefined;
        });
      }
      return known.credentials;
    },
    renew() {
      const now = clock.monotonic();
      if (now - renewedAt < renewEveryMs) return false;
      renewedAt = now;
      config = load(kubeconfig, context);
      known = undefined;
      return true;
    },
    close: () => agent?.agent.destroy(),
  };
}

/** Requests and watches under way end as who they began. */
function retire(agent: HttpAgent): void {
  agent.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets))
    for (const socket of sockets ?? []) socket.destroy();
}

function load(kubeconfig: string | undefined, context: string | undefined): InstanceType<typeof KubeConfig> {
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(kubeconfig);
  if (context === undefined) return config;
  const names = config.getContexts().map(({ name }) => name);
  if (!names.includes(context))
    throw new Error(`Cannot use context ${context}: expected one of ${names.join(", ") || "none"}`);
  config.setCurrentContext(context);
  return config;
}

function describe(config: InstanceType<typeof KubeConfig>): string {
  const contexts = config.getContexts().map(({ name }) => name);
  return `expected a context with a cluster, got context "${config.getCurrentContext()}" of ${contexts.join(", ") || "none"}`;
}
