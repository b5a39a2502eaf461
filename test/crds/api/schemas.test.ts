import assert from "node:assert/strict";
import { test } from "node:test";
import { RE2JS } from "re2js";
import { parse as parseYaml } from "yaml";
import { customResourceDefinition } from "#crds/api/custom-resource-definition.ts";
import { fieldTable } from "#crds/api/field-table.ts";
import { structuralSchema } from "#crds/api/structural.ts";
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { kinds, sendingPoolSchema, tenantSchema, trafficShapeSchema } from "#crds/api/v1alpha1/kinds.ts";
import { providerNames, providerSuffixes } from "#crds/api/v1alpha1/providers.ts";
import { driftedFiles } from "#crds/generate.ts";
import { parseDuration } from "#crds/values/duration.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { parseBy } from "#crds/values/zod-issue.ts";
import { z } from "zod";

const head = { apiVersion: "mailboat.dev/v1alpha1", metadata: { name: "x" } };

function issuesIn(kind: "SendingPool" | "TrafficShape" | "Tenant", spec: string): string[] {
  const schemas = { SendingPool: sendingPoolSchema, TrafficShape: trafficShapeSchema, Tenant: tenantSchema };
  const parsed = parseBy(schemas[kind], { ...head, kind, spec: parseYaml(spec) as unknown });
  return parsed.ok ? [] : parsed.issues.map(formatIssue);
}

const tenant = (rest: string): string => `{poolRef: {name: p}, domains: [{name: a.example}], ${rest}}`;
const pool = (rest: string): string =>
  `{hostname: out.example.net, queue: {servers: ["nats://n:4222"]}, ${rest}}`;
const shape = (rest: string): string => `{rules: [{name: r, match: {domains: [a.example]}, ${rest}}]}`;

const accepted: ["SendingPool" | "TrafficShape" | "Tenant", string][] = [
  ["Tenant", tenant("")],
  ["Tenant", tenant("limits: {messageRate: 100/s, burst: 500}")],
  ["Tenant", tenant("limits: {messageSizeBytes: 67108864, recipientsPerMessage: 1000}")],
  ["Tenant", tenant("retry: {maxAge: 168h}")],
  ["Tenant", tenant("streams: [{name: n}], credentials: [{name: a, secretRef: {name: s}, stream: n}]")],
  ["Tenant", tenant("credentials: [{name: a, secretRef: {name: s}, stream: default}]")],
  ["Tenant", "{poolRef: {name: p}, domains: [{name: xn--bcher-kva.example}, {name: a_b.example}]}"],
  ["SendingPool", pool("")],
  ["SendingPool", pool("replicas: 0, drain: {timeoutSeconds: 7200}")],
  ["SendingPool", pool('egress: {allowDestinations: [10.0.0.1/8, "::/0", "fd00::/8"]}')],
  [
    "SendingPool",
    pool('egress: {sources: [{name: a, address: "2001:db8::1"}, {name: b, address: 192.0.2.1}]}'),
  ],
  ["SendingPool", pool("egress: {mode: Sink, sources: [{name: a, proxy: {ordinal: 63}}]}")],
  ["SendingPool", pool("egress: {mode: HostNetwork, sources: [{name: a, address: 192.0.2.1}]}")],
  [
    "SendingPool",
    pool(
      "egress: {mode: Proxy, proxy: {secretRef: {name: s}, connectTimeout: 3s}, sources: [{name: a, proxy: {host: h, port: 1}}]}",
    ),
  ],
  ["SendingPool", pool("autoscaling: {maxReplicas: 1}")],
  ["SendingPool", pool("autoscaling: {minReplicas: 3, maxReplicas: 3, scaleDown: {stabilization: 60s}}")],
  ["SendingPool", pool("listeners: [{name: smtp, trust: [{cidr: 10.0.0.0/8, tenantRef: {name: t}}]}]")],
  ["SendingPool", pool("pod: {resources: {requests: {cpu: 1, memory: 1.5Gi}, limits: {memory: 2Gi}}}")],
  ["SendingPool", pool("pod: {labels: {example.com/team: mail}, env: [{name: TZ, value: UTC}]}")],
  ["SendingPool", pool("pod: {affinity: {nodeAffinity: {whatever: [1, {a: b}]}}}")],
  ["SendingPool", pool("pod: {tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute}]}")],
  ["SendingPool", pool("disruptionBudget: {maxUnavailable: 1}, networkPolicy: {enabled: true}")],
  ["SendingPool", pool("disruptionBudget: {maxUnavailable: 100%}, networkPolicy: {}")],
  [
    "SendingPool",
    pool("service: {type: LoadBalancer, externalTrafficPolicy: Local, loadBalancerClass: e.example/x}"),
  ],
  ["SendingPool", pool("image: 'ghcr.io/a/mailboat-pod:1.2@sha256:abc', tls: {secretRef: {name: t}}")],
  [
    "SendingPool",
    '{hostname: o.example, queue: {servers: ["tls://n"], credentialsSecretRef: {name: c}, tlsSecretRef: {name: t}}}',
  ],
  ["Tenant", tenant("deletionPolicy: Discard, drainTimeout: 1h")],
  ["TrafficShape", shape("")],
  ["TrafficShape", '{rules: [{name: r, match: {domains: ["*", "*.a.example", b]}}]}'],
  ["TrafficShape", "{rules: [{name: r, match: {mxSuffixes: [.a.example, mx.b.example]}}]}"],
  ["TrafficShape", shape("retry: {first: 1s, max: 48h, maxAge: 1m}")],
  [
    "TrafficShape",
    shape("limits: {perTenant: {connections: 1, messageRate: 30/m}, perSenderDomain: {messageRate: 1/d}}"),
  ],
  ["TrafficShape", shape("limits: {connections: 2, perTenant: {connections: 9}}")],
  ["TrafficShape", shape('routes: [{host: "2001:db8::1"}, {host: relay, port: 65535}]')],
];
test("the schemas accept what is permitted", () => {
  for (const [kind, spec] of accepted) assert.deepEqual(issuesIn(kind, spec), [], spec);
});

const refused: ["SendingPool" | "TrafficShape" | "Tenant", string, string][] = [
  ["Tenant", "{domains: [{name: a.example}]}", "spec.poolRef: expected an object, got nothing"],
  ["Tenant", "{poolRef: {name: p}, domains: []}", "spec.domains: expected at least 1 items, got a list of 0"],
  [
    "Tenant",
    "{poolRef: {name: p}, domains: [{name: com}]}",
    "spec.domains[0].name: expected a full domain name",
  ],
  ["Tenant", "{poolRef: {name: p}, domains: [{name: bücher.example}]}", "spec.domains[0].name: expected"],
  ["Tenant", tenant("state: Paused"), 'spec.state: expected one of "Active", "Hold", "Reject", got "Paused"'],
  ["Tenant", tenant("weight: 0"), "spec.weight: expected at least 1, got 0"],
  ["Tenant", tenant("weight: 1.5"), "spec.weight: expected a whole number, got 1.5"],
  [
    "Tenant",
    tenant("limits: {messageSizeBytes: 67108865}"),
    "spec.limits.messageSizeBytes: expected at most 67108864, got 67108865",
  ],
  [
    "Tenant",
    tenant("limits: {recipientsPerMessage: 1001}"),
    "spec.limits.recipientsPerMessage: expected at most 1000, got 1001",
  ],
  ["Tenant", tenant("limits: {burst: 5}"), "spec.limits: expected burst only together with messageRate"],
  [
    "Tenant",
    tenant("limits: {messageRate: 0/s}"),
    "spec.limits.messageRate: expected a rate <count>/<s|m|h|d>",
  ],
  [
    "Tenant",
    tenant("retry: {maxAge: 8760h}"),
    'spec.retry.maxAge: expected a duration from 1m to 168h, got "8760h"',
  ],
  ["Tenant", tenant("retry: {maxAge: 3d}"), "spec.retry.maxAge: expected a duration in h, m, s and ms"],
  [
    "Tenant",
    tenant("credentials: [{name: a, type: ApiKey, secretRef: {name: s}}]"),
    'credentials[0].type: expected "Password"',
  ],
  [
    "Tenant",
    tenant("credentials: [{name: a, secretRef: {name: s}, stream: n}]"),
    "spec: expected each credential's stream",
  ],
  [
    "Tenant",
    tenant("deletionPolicy: Keep"),
    'spec.deletionPolicy: expected one of "Drain", "Discard", got "Keep"',
  ],
  ["Tenant", tenant("drainTimeout: 10s"), "spec.drainTimeout: expected a duration from 1m to 240h"],
  ["Tenant", tenant("suspend: true"), "spec.suspend: expected one of the fields poolRef, state"],
  [
    "SendingPool",
    pool("egress: {mode: Proxy}"),
    "spec.egress: expected a proxy for each source in mode Proxy, got no sources",
  ],
  [
    "SendingPool",
    pool("egress: {mode: Proxy, sources: [{name: a, proxy: {ordinal: 0}}, {name: b}]}"),
    'spec.egress: expected a proxy for each source in mode Proxy, got "b" without one',
  ],
  [
    "SendingPool",
    pool("egress: {mode: Proxy, proxy: {protocol: PROXYv2}, sources: [{name: a, proxy: {host: h}}]}"),
    "spec.egress: expected an address and a proxy host for each source with PROXYv2",
  ],
  [
    "SendingPool",
    pool("egress: {mode: Proxy, sources: [{name: a, proxy: {}}]}"),
    "spec.egress.sources[0].proxy: expected either ordinal, or host with or without port",
  ],
  [
    "SendingPool",
    pool("egress: {mode: Proxy, sources: [{name: a, proxy: {ordinal: 1, port: 1080}}]}"),
    "spec.egress.sources[0].proxy: expected either ordinal, or host with or without port",
  ],
  ["SendingPool", pool("egress: {mode: Nowhere}"), "spec.egress.mode: expected one of"],
  ["SendingPool", pool("autoscaling: {minReplicas: 2}"), "spec.autoscaling.maxReplicas: expected"],
  [
    "SendingPool",
    pool("autoscaling: {minReplicas: 4, maxReplicas: 3}"),
    "spec.autoscaling: expected minReplicas of at most maxReplicas, got 4 and 3",
  ],
  [
    "SendingPool",
    pool("autoscaling: {minReplicas: 0, maxReplicas: 3}"),
    "spec.autoscaling.minReplicas: expected at least 1",
  ],
  [
    "SendingPool",
    pool("pod: {nodeSelector: {'a b': x}}"),
    'spec.pod.nodeSelector: expected texts by names such as example.com/name, got "a b"',
  ],
  [
    "SendingPool",
    pool(`pod: {labels: {${Array.from({ length: 33 }, (_, index) => `l${index}: x`).join(", ")}}}`),
    "spec.pod.labels: expected at most 32 of them, got 33",
  ],
  [
    "SendingPool",
    pool("pod: {resources: {requests: {cpu: much}}}"),
    'spec.pod.resources.requests.cpu: expected a quantity such as 500m or 1Gi, got "much"',
  ],
  [
    "SendingPool",
    pool("pod: {env: [{name: 1A, value: x}]}"),
    "spec.pod.env[0].name: expected the name of a var",
  ],
  ["SendingPool", pool("pod: {env: [{name: A}]}"), "spec.pod.env[0].value: expected a string, got nothing"],
  ["SendingPool", pool("pod: {containers: []}"), "spec.pod.containers: expected one of the fields resources"],
  [
    "SendingPool",
    pool("pod: {topologySpread: [{topologyKey: a}, {topologyKey: a}]}"),
    "spec.pod.topologySpread: expected items with a different topologyKey each",
  ],
  [
    "SendingPool",
    pool("disruptionBudget: {maxUnavailable: 101%}"),
    "spec.disruptionBudget.maxUnavailable: expected a number or a percentage",
  ],
  [
    "SendingPool",
    pool("disruptionBudget: {maxUnavailable: -1}"),
    "spec.disruptionBudget.maxUnavailable: expected at least 0, got -1",
  ],
  ["SendingPool", pool("image: 'a b'"), "spec.image: expected the name of an image"],
  ["SendingPool", pool("tls: {}"), "spec.tls.secretRef: expected an object, got nothing"],
  [
    "SendingPool",
    pool("service: {externalTrafficPolicy: Local}"),
    "spec.service: expected externalTrafficPolicy only with type NodePort or LoadBalancer, got type ClusterIP",
  ],
  [
    "SendingPool",
    pool("service: {type: NodePort, loadBalancerClass: a}"),
    "spec.service: expected loadBalancerClass only with type LoadBalancer, got type NodePort",
  ],
  [
    "Tenant",
    "{poolRef: {name: p}, domains: [{name: a.example}, {name: a.example}]}",
    'spec.domains: expected items with a different name each, got "a.example" more than once',
  ],
  ["SendingPool", "{hostname: out.example.net}", "spec.queue: expected an object, got nothing"],
  [
    "SendingPool",
    "{hostname: out.example.net, queue: {servers: []}}",
    "spec.queue.servers: expected at least 1 items",
  ],
  [
    "SendingPool",
    '{hostname: out.example.net, queue: {servers: ["nats://user:pw@n:4222"]}}',
    "spec.queue.servers[0]: expected a server's URL",
  ],
  [
    "SendingPool",
    '{hostname: o.example, queue: {servers: ["nats://n"], replicas: 2}}',
    "spec.queue.replicas: expected one of 1, 3, got 2",
  ],
  [
    "SendingPool",
    '{hostname: o.example, queue: {servers: ["nats://n"], shards: 65}}',
    "spec.queue.shards: expected at most 64, got 65",
  ],
  [
    "SendingPool",
    pool("egress: {allowDestinations: [10.0.0.0]}"),
    "spec.egress.allowDestinations[0]: expected an address range",
  ],
  [
    "SendingPool",
    pool("egress: {allowDestinations: [10.0.0.0/33]}"),
    "spec.egress.allowDestinations[0]: expected an address range",
  ],
  [
    "SendingPool",
    pool("egress: {sources: [{name: a, address: 300.1.1.1}]}"),
    "spec.egress.sources[0].address: expected an IP address",
  ],
  ["SendingPool", pool("listeners: [{name: submission}]"), 'spec.listeners[0].name: expected "smtp"'],
  [
    "SendingPool",
    pool("scaling: {}"),
    "spec.scaling: expected one of the fields replicas, autoscaling, hostname",
  ],
  ["TrafficShape", "{rules: []}", "spec.rules: expected at least 1 items"],
  [
    "TrafficShape",
    "{rules: [{name: r, match: {}}]}",
    "spec.rules[0].match: expected at least one of domains, mxSuffixes and provider",
  ],
  [
    "TrafficShape",
    "{rules: [{name: r, match: {domains: [a.*.example]}}]}",
    "spec.rules[0].match.domains[0]: expected",
  ],
  [
    "TrafficShape",
    "{rules: [{name: r, match: {domains: [a, a]}}]}",
    'domains: expected different items, got "a" more than once',
  ],
  [
    "TrafficShape",
    "{rules: [{name: r, match: {provider: Hotmail}}]}",
    "spec.rules[0].match.provider: expected one of",
  ],
  [
    "TrafficShape",
    shape("retry: {first: 2h, max: 1h}"),
    "spec.rules[0].retry: expected first no longer than max, got 2h and 1h",
  ],
  [
    "TrafficShape",
    shape("timeouts: {connect: 1h}"),
    "spec.rules[0].timeouts.connect: expected a duration from 1s to 30m",
  ],
  [
    "TrafficShape",
    shape("limits: {perTenant: {messageRate: fast}}"),
    'spec.rules[0].limits.perTenant.messageRate: expected a rate <count>/<s|m|h|d>, such as 30/s, got "fast"',
  ],
  [
    "TrafficShape",
    shape("limits: {perTenant: {connections: 0}}"),
    "spec.rules[0].limits.perTenant.connections: expected at least 1",
  ],
  [
    "TrafficShape",
    shape("limits: {perSenderDomain: {connections: 1}}"),
    'spec.rules[0].limits.perSenderDomain.connections: expected one of the fields messageRate, got the unknown field "connections"',
  ],
  ["TrafficShape", shape("tls: {mode: Dane}"), "spec.rules[0].tls.mode: expected one of"],
  ["TrafficShape", shape("automation: []"), "spec.rules[0].automation: expected one of the fields"],
  [
    "TrafficShape",
    shape('routes: [{host: "a b"}]'),
    "spec.rules[0].routes[0].host: expected a host name or an IP address",
  ],
];
test("the schemas refuse the rest, and say where, what they expected and what was there", () => {
  for (const [kind, spec, text] of refused) {
    const issues = issuesIn(kind, spec);
    assert.ok(
      issues.some((issue) => issue.includes(text)),
      `${spec}\nexpected ${text}\ngot ${issues.join("\n")}`,
    );
  }
});

test("the manifests and tables in crds/ are what the schemas say", () => {
  assert.deepEqual(driftedFiles(`${import.meta.dirname}/../../../crds`), []);
});

test("every pattern of the manifests is one that RE2 reads", () => {
  const patterns: string[] = [];
  JSON.stringify(kinds.map(customResourceDefinition), (key, value: unknown) => {
    if (key === "pattern") patterns.push(String(value));
    return value;
  });
  assert.ok(patterns.length > 20);
  for (const pattern of patterns) RE2JS.compile(pattern);
});

test("structuralSchema() throws on what an API server would refuse or misread", () => {
  const text = z.string().max(9);
  const wrong: [string, z.ZodType, RegExp][] = [
    ["no maxLength", z.string(), /maxLength/],
    ["no maxItems", z.array(text), /maxItems/],
    ["a union", z.union([text, z.int().min(0).max(1)]), /anyOf/],
    ["a record without a bound", z.record(z.string(), text), /maxProperties/],
    [
      "another union that pretends",
      z.union([text, z.int(), z.boolean()]).meta({ "x-kubernetes-int-or-string": true }),
      /whole number or a text/,
    ],
    ["flags of a pattern", text.regex(/a/i), /without flags/],
    ["lookahead", text.regex(/a(?=b)/), /RE2/],
    ["lookbehind", text.regex(/(?<!a)b/), /RE2/],
    ["a back-reference", text.regex(/(a)\1/), /RE2/],
    ["anything", z.unknown(), /type/],
    [
      "a reference",
      z.strictObject({
        get self() {
          return z.array(z.lazy(() => z.strictObject({ a: text }))).max(2);
        },
        loop: z.lazy((): z.ZodType => loop),
      }),
      /\$ref|maximum|expected/,
    ],
  ];
  for (const [name, schema, message] of wrong)
    assert.throws(() => structuralSchema(z.strictObject({ field: schema }), "Kind.spec"), message, name);
});

const loop: z.ZodType = z.strictObject({ inner: z.lazy((): z.ZodType => loop).optional() });

test("a pool's name leaves room for the names that are made of it", () => {
  const named = (name: string): unknown => ({
    apiVersion: "mailboat.dev/v1alpha1",
    kind: "SendingPool",
    metadata: { name },
    spec: parseYaml(pool("")) as unknown,
  });
  for (const name of ["a", "a-1", "p".repeat(36)])
    assert.equal(parseBy(sendingPoolSchema, named(name)).ok, true, name);
  for (const name of ["a.b", "-a", "p".repeat(37)]) {
    const parsed = parseBy(sendingPoolSchema, named(name));
    assert.ok(!parsed.ok && parsed.issues[0]?.where === "metadata.name", name);
  }
});

test("each CRD is below 60 KiB", () => {
  for (const kind of kinds)
    assert.ok(JSON.stringify(customResourceDefinition(kind)).length < 60 * 1024, kind.kind);
});

test("defaults are within the bounds of their fields", () => {
  for (const [name, value] of Object.entries(compiledDefaults))
    if (/Timeout$|^retry/.test(name)) assert.notEqual(parseDuration(String(value)), undefined, name);
});

test("every provider that has hosts can be named, and the other way round", () => {
  assert.deepEqual([...providerNames].sort(), Object.keys(providerSuffixes).sort());
});

test("fieldTable() names a type for every field", () => {
  const table = kinds.map((kind) => fieldTable(kind)).join("\n");
  const types = new Set(
    table.split("\n").flatMap((line) => (line.startsWith("| `") ? [line.split(" | ")[1]] : [])),
  );
  assert.ok(types.has("integer or string") && types.has("list of object by name"));
  for (const type of types)
    assert.match(type ?? "", /^(list of )?(object|string|integer|boolean|integer or string)( by \S+)?$/);
});
