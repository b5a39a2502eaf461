/** A pool's `egress` → what its pods run of it: sources, proxies, and the login at them. Pure; problems instead of throws. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { type EgressSpec, egressProxyHost, egressProxyName } from "#crds/api/v1alpha1/egress.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { Manifest, ProxyLogin, Source } from "#crds/pod-config/schema.ts";
import { milliseconds, optional, sortedSet } from "./rules.ts";
import type { Found, Secrets } from "./secrets.ts";
import { proxyLoginOf } from "./secrets.ts";
import { compareText } from "./tenants.ts";

export function compileEgress({ metadata, spec }: Resource<SendingPoolSpec>): Manifest["egress"] {
  const { egress, hostname } = spec;
  const mode = egress?.mode ?? "PodNetwork";
  const sources: Source[] = (egress?.sources ?? []).map((source) => ({
    name: source.name,
    ...optional("address", source.address),
    ehlo: source.ehlo ?? hostname,
    weight: source.weight,
    ...optional("proxy", mode === "Proxy" ? endpointOf(metadata, source.proxy) : undefined),
  }));
  // One source called `default`, however many pods (decisions.md 2), unless sources are given.
  if (sources.length === 0) sources.push({ name: "default", ehlo: hostname, weight: 1 });
  return {
    ...optional("mode", mode === "PodNetwork" ? undefined : mode),
    ...optional("proxy", mode === "Proxy" ? proxyOf(egress) : undefined),
    allowDestinations: sortedSet(egress?.allowDestinations ?? []),
    sources: sources.sort((a, b) => compareText(a.name, b.name)),
  };
}

type SourceSpec = NonNullable<EgressSpec["sources"]>[number];

function endpointOf(
  pool: { readonly namespace: string; readonly name: string },
  proxy: SourceSpec["proxy"],
): Source["proxy"] {
  if (proxy === undefined) return undefined;
  const { ordinal, host, port = compiledDefaults.proxyPort } = proxy;
  if (ordinal === undefined) return host === undefined ? undefined : { host: host.toLowerCase(), port };
  return { host: egressProxyHost(pool, ordinal), port: compiledDefaults.proxyPort };
}

function proxyOf(egress: EgressSpec | undefined): NonNullable<Manifest["egress"]["proxy"]> {
  return {
    protocol: egress?.proxy?.protocol ?? "SOCKS5",
    connectMs: milliseconds(egress?.proxy?.connectTimeout ?? compiledDefaults.proxyConnectTimeout),
    hasLogin: egress?.proxy?.secretRef !== undefined || runsProxies(egress),
  };
}

/** Proxies that the operator runs let nobody in without a login. */
function runsProxies(egress: EgressSpec | undefined): boolean {
  return egress?.sources?.some(({ proxy }) => proxy?.ordinal !== undefined) === true;
}

/** The login that the manifest says there is; of the operator's own Secret unless the pool names one. */
export function loginAtProxies(
  { metadata, spec }: Resource<SendingPoolSpec>,
  secrets: Secrets,
): Found<ProxyLogin> {
  const name = spec.egress?.proxy?.secretRef?.name ?? egressProxyName(metadata.name);
  return proxyLoginOf(secrets, {
    namespace: metadata.namespace,
    name,
    where: "spec.egress.proxy.secretRef",
  });
}
