/** Resources for local mode in tests: one pool, tenants with a login each, one rule per destination, as YAML (JSON documents). */

export interface TestTenant {
  readonly name: string;
  /** Sender domain; default NAME.example. */
  readonly domain?: string;
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly weight?: number;
  /** More fields of its spec, or others in place of those above. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

export interface TestResources {
  readonly tenants?: readonly TestTenant[];
  /** Rules of the pool's shape, in order, as a TrafficShape has them. */
  readonly rules: readonly Readonly<Record<string, unknown>>[];
  readonly shards?: number;
  /** Pods, where local mode is not told how many; default 1. */
  readonly replicas?: number;
  /** More fields of the pool's queue. */
  readonly queue?: Readonly<Record<string, unknown>>;
  /** In place of sending from the pods' network to loopback. */
  readonly egress?: Readonly<Record<string, unknown>>;
  /** More Secrets of the namespace, by name: their `stringData`. */
  readonly secrets?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export const testPassword = "correct horse battery";

/** The pool `mail/shared`; tenant NAME logs in as NAME with `testPassword`. */
export function testResources(resources: TestResources): string {
  const { tenants = [{ name: "acme" }], rules, shards = 8, queue = {}, secrets = {} } = resources;
  const { egress = { mode: "PodNetwork" }, replicas = 1 } = resources;
  const object = (kind: string, name: string, spec: unknown): object => ({
    apiVersion: "mailboat.dev/v1alpha1",
    kind,
    metadata: { name, namespace: "mail" },
    spec,
  });
  const pool = object("SendingPool", "shared", {
    replicas,
    hostname: "out.example.net",
    queue: { servers: ["nats://nats:4222"], replicas: 1, shards, ...queue },
    egress: { allowDestinations: ["127.0.0.0/8"], ...egress },
    trafficShapeRefs: [{ name: "test" }],
  });
  const perTenant = tenants.flatMap(({ name, domain = `${name}.example`, limits, weight, spec }) => [
    object("Tenant", name, {
      poolRef: { name: "shared" },
      domains: [{ name: domain }],
      credentials: [{ name: "app", type: "Password", secretRef: { name: `${name}-smtp` } }],
      ...(limits === undefined ? {} : { limits }),
      ...(weight === undefined ? {} : { weight }),
      ...spec,
    }),
    secretOf(`${name}-smtp`, { username: name, password: testPassword }),
  ]);
  const others = Object.entries(secrets).map(([name, data]) => secretOf(name, data));
  return [pool, object("TrafficShape", "test", { rules }), ...perTenant, ...others]
    .map((one) => JSON.stringify(one))
    .join("\n---\n");
}

function secretOf(name: string, stringData: Readonly<Record<string, string>>): object {
  return { apiVersion: "v1", kind: "Secret", metadata: { name, namespace: "mail" }, stringData };
}
