/** For each CEL rule of our kinds: values that it lets through and values that it refuses. Rules of a known form get theirs by themselves. */
import type { PlacedRule } from "./samples.ts";

export interface CelCase {
  /** Values at the rule's place; an object's stand beside the fields that are required. */
  readonly accepted: readonly unknown[];
  readonly refused: readonly unknown[];
  /** Of a rule about the old value: what stands before. */
  readonly before?: unknown;
}

interface NamedCase extends CelCase {
  readonly kind: string;
  readonly path: string;
  /** Of the rule; part of it is enough where a place has one rule. */
  readonly message: string;
}

/** Rules that say more than one field can. */
export const celCases: readonly NamedCase[] = [
  {
    kind: "SendingPool",
    path: "",
    message: "expected the name of a pool",
    accepted: [{ metadata: { name: "a".repeat(36) } }, { metadata: { name: "a-1" } }],
    refused: [{ metadata: { name: "a".repeat(37) } }, { metadata: { name: "a.b" } }],
  },
  {
    kind: "SendingPool",
    path: "spec.autoscaling",
    message: "expected minReplicas of at most maxReplicas",
    accepted: [{ maxReplicas: 4 }, { minReplicas: 4, maxReplicas: 4 }],
    refused: [{ minReplicas: 5, maxReplicas: 4 }],
  },
  {
    kind: "SendingPool",
    path: "spec.queue.shards",
    message: "shards cannot be changed",
    before: 8,
    accepted: [8],
    refused: [16, 4],
  },
  {
    kind: "SendingPool",
    path: "spec.egress",
    message: "expected a proxy for each source in mode Proxy",
    accepted: [
      { mode: "Proxy", sources: [{ name: "a", proxy: { host: "proxy.example" } }] },
      { mode: "PodNetwork", sources: [{ name: "a" }] },
      {},
    ],
    refused: [
      { mode: "Proxy" },
      { mode: "Proxy", sources: [{ name: "a", proxy: { host: "proxy.example" } }, { name: "b" }] },
    ],
  },
  {
    kind: "SendingPool",
    path: "spec.egress",
    message: "expected an address and a proxy host for each source with PROXYv2",
    accepted: [
      {
        mode: "Proxy",
        proxy: { protocol: "PROXYv2" },
        sources: [{ name: "a", address: "192.0.2.1", proxy: { host: "proxy.example" } }],
      },
      {
        mode: "Proxy",
        proxy: { protocol: "SOCKS5" },
        sources: [{ name: "a", proxy: { host: "proxy.example" } }],
      },
    ],
    refused: [
      {
        mode: "Proxy",
        proxy: { protocol: "PROXYv2" },
        sources: [{ name: "a", proxy: { host: "proxy.example" } }],
      },
      {
        mode: "Proxy",
        proxy: { protocol: "PROXYv2" },
        sources: [{ name: "a", address: "192.0.2.1", proxy: { ordinal: 0 } }],
      },
    ],
  },
  {
    kind: "SendingPool",
    path: "spec.egress.sources[].proxy",
    message: "expected either ordinal, or host with or without port",
    accepted: [{ ordinal: 0 }, { host: "proxy.example" }, { host: "proxy.example", port: 1080 }],
    refused: [{}, { ordinal: 0, host: "proxy.example" }, { ordinal: 0, port: 1080 }],
  },
  {
    kind: "SendingPool",
    path: "spec.allowedTenants",
    message: "expected a selector with from Selector, and only then",
    accepted: [
      { from: "Selector", selector: { matchLabels: { mail: "yes" } } },
      { from: "All" },
      { from: "Same" },
    ],
    refused: [{ from: "Selector" }, { from: "All", selector: { matchLabels: { mail: "yes" } } }],
  },
  {
    kind: "SendingPool",
    path: "spec.service",
    message: "expected externalTrafficPolicy only with type",
    accepted: [
      { type: "LoadBalancer", externalTrafficPolicy: "Local" },
      { type: "NodePort", externalTrafficPolicy: "Local" },
      { type: "ClusterIP" },
    ],
    refused: [{ externalTrafficPolicy: "Local" }, { type: "ClusterIP", externalTrafficPolicy: "Local" }],
  },
  {
    kind: "SendingPool",
    path: "spec.service",
    message: "expected loadBalancerClass only with type",
    accepted: [{ type: "LoadBalancer", loadBalancerClass: "example.net/nlb" }, { type: "NodePort" }],
    refused: [
      { loadBalancerClass: "example.net/nlb" },
      { type: "NodePort", loadBalancerClass: "example.net/nlb" },
    ],
  },
  {
    kind: "Tenant",
    path: "spec",
    message: "expected each credential's stream among spec.streams",
    accepted: [
      { credentials: [{ name: "a", secretRef: { name: "a" }, stream: "news" }], streams: [{ name: "news" }] },
      { credentials: [{ name: "a", secretRef: { name: "a" }, stream: "default" }] },
      { credentials: [{ name: "a", secretRef: { name: "a" } }] },
    ],
    refused: [
      { credentials: [{ name: "a", secretRef: { name: "a" }, stream: "news" }] },
      {
        credentials: [{ name: "a", secretRef: { name: "a" }, stream: "news" }],
        streams: [{ name: "other" }],
      },
    ],
  },
  {
    kind: "Tenant",
    path: "spec.limits",
    message: "expected burst only together with messageRate",
    accepted: [{ messageRate: "10/s", burst: 5 }, { messageRate: "10/s" }, {}],
    refused: [{ burst: 5 }],
  },
  {
    kind: "TrafficShape",
    path: "spec.rules[].match",
    message: "expected at least one of domains, mxSuffixes and provider",
    accepted: [{ domains: ["a.example"] }, { mxSuffixes: [".a.example"] }, { provider: "Google" }],
    refused: [{}],
  },
  {
    kind: "TrafficShape",
    path: "spec.rules[].retry",
    message: "expected first no longer than max",
    accepted: [{ first: "10m", max: "10m" }, { first: "1h" }, { max: "1h" }],
    refused: [{ first: "11m", max: "10m" }],
  },
];

/** Fields that a rule wants to be there, beside those that the schema requires. */
export const extras: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>> = {
  TrafficShape: { "spec.rules[].match": { domains: ["a.example"] } },
};

/** Undefined when nobody thought of the rule yet. */
export function caseFor(kind: string, rule: PlacedRule): CelCase | undefined {
  const named = celCases.find(
    (one) => one.kind === kind && one.path === rule.path && rule.message.includes(one.message),
  );
  return named ?? byForm(rule);
}

const durationForm = /^duration\(self\) >= duration\('(\w+)'\) && duration\(self\) <= duration\('(\w+)'\)$/;

function byForm({ rule }: PlacedRule): CelCase | undefined {
  const bounds = durationForm.exec(rule);
  if (bounds !== null) {
    const [, least = "", most = ""] = bounds;
    const low = secondsOf(least);
    return {
      accepted: [least, most, `${low + 1}s`],
      refused: [low > 1 ? `${low - 1}s` : "1ms", `${secondsOf(most) + 1}s`, "10000h"],
    };
  }
  if (rule === "isCIDR(self)")
    return {
      accepted: ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"],
      refused: ["10.0.0.0", "10.0.0.0/33", "256.0.0.0/8", "example.net"],
    };
  if (rule === "isIP(self)")
    return {
      accepted: ["192.0.2.1", "2001:db8::1"],
      refused: ["192.0.2.256", "192.0.2.0/24", "example.net"],
    };
  return undefined;
}

function secondsOf(text: string): number {
  const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };
  const [, count = "", unit = ""] = /^(\d+)([smh])$/.exec(text) ?? [];
  return Number(count) * (units[unit] ?? Number.NaN);
}
