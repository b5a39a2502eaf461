/** The resources that the product runs with in a benchmark, as files. JSON is YAML. Throws Error when they cannot be written. */
import { generateKeyPairSync } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StartOptions } from "./contender.ts";
import { senderDomain } from "./keys.ts";

/** All tenants together, so that their number changes nothing but itself. */
const totalPerSecond = 1_000_000;
const senderDigits = 5;
/** Of every tenant: the passwords are not what is measured. */
export const tenantPassword = "bench-password";
export const tenantLoginStart = "t";
/** Its mail waits for a next hop of its own. */
export const slowDomain = "slow.test";
const namespace = "mail";
const poolName = "bench";

/** Writes a folder; in it `edited.yaml` holds the last tenant alone, of many. @returns the folder */
export async function writeResources(options: StartOptions): Promise<string> {
  const { scenario, folder } = options;
  const resources = join(folder, "resources");
  await mkdir(resources);
  const write = (name: string, documents: readonly string[]): Promise<void> =>
    writeFile(join(resources, name), documents.join("\n---\n"));
  await write("pool.yaml", poolDocuments(options));
  if (scenario.tenants === 0) await write("tenant.yaml", trustedTenant(options));
  else {
    const tenants = Array.from({ length: scenario.tenants }, (_, index) =>
      loginTenant(index, { rate: tenantRate(scenario.tenants), key: ed25519Key() }),
    );
    await write("tenants.yaml", tenants.slice(0, -1).flat());
    await write("edited.yaml", tenants.at(-1) ?? []);
  }
  return resources;
}

export function tenantRate(tenants: number): number {
  return Math.ceil(totalPerSecond / tenants);
}

function document(kind: string, name: string, content: object): string {
  const apiVersion = kind === "Secret" ? "v1" : "mailboat.dev/v1alpha1";
  return JSON.stringify({ apiVersion, kind, metadata: { name, namespace }, ...content });
}

const slowConnections = 2;

/** One rule for all mail, but for what has to wait; who needs no login is trusted by address. */
function poolDocuments({ scenario, sinkPort, slowPort, pods }: StartOptions): string[] {
  const ruleTo = (port: number, name: string, domain: string, connections: number): object => ({
    name,
    match: { domains: [domain] },
    limits: { connections, messagesPerConnection: 1_000_000 },
    ...(scenario.tls ? { tls: { mode: "Required" } } : {}),
    // A 4xx of the next hop is tried again soon: the benchmark waits for it.
    retry: { first: "1s", max: "2s" },
    routes: [{ host: "127.0.0.1", port }],
  });
  const rules = [
    ...(slowPort === undefined ? [] : [ruleTo(slowPort, "slow", slowDomain, slowConnections)]),
    ruleTo(sinkPort, "all", "*", scenario.nextHopConnections),
  ];
  const trust = [{ cidr: "127.0.0.0/8", tenantRef: { name: "bench" } }];
  const spec = {
    replicas: pods,
    hostname: "out.bench.test",
    queue: { servers: ["nats://nats:4222"], replicas: 1 },
    egress: { mode: "PodNetwork", allowDestinations: ["127.0.0.0/8"] },
    ...(scenario.tenants === 0 ? { listeners: [{ name: "smtp", trust }] } : {}),
    trafficShapeRefs: [{ name: "bench" }],
  };
  return [
    document("SendingPool", poolName, { spec }),
    document("TrafficShape", "bench", { spec: { rules } }),
  ];
}

/** Without a rate; with a key when the scenario signs. */
function trustedTenant({ keys: { dkim } }: StartOptions): string[] {
  const signed =
    dkim === undefined
      ? {}
      : { dkim: [{ selector: dkim.selector, secretRef: { name: "bench", key: "tls.key" } }] };
  const spec = { poolRef: { name: poolName }, domains: [{ name: senderDomain, ...signed }] };
  return [
    document("Tenant", "bench", { spec }),
    ...(dkim === undefined ? [] : [document("Secret", "bench", { stringData: { "tls.key": dkim.pem } })]),
  ];
}

/** A tenant with a login, limits and a key of its own: what c/generator.c sends as with -T. */
export function loginTenant(
  index: number,
  { rate, key }: { readonly rate: number; readonly key: string },
): string[] {
  const name = `${tenantLoginStart}${String(index).padStart(senderDigits, "0")}`;
  const spec = {
    poolRef: { name: poolName },
    domains: [
      {
        name: `${name}.example`,
        dkim: [{ selector: "s1", secretRef: { name: `${name}-dkim`, key: "tls.key" } }],
      },
    ],
    credentials: [{ name: "app", type: "Password", secretRef: { name: `${name}-login` } }],
    limits: {
      messageRate: `${rate}/s`,
      burst: rate,
      messagesPerDay: 100_000_000,
      recipientsPerMessage: 100,
      messageSizeBytes: 26_214_400,
      queuedMessages: 1_000_000,
    },
  };
  return [
    document("Tenant", name, { spec }),
    document("Secret", `${name}-login`, { stringData: { username: name, password: tenantPassword } }),
    document("Secret", `${name}-dkim`, { stringData: { "tls.key": key } }),
  ];
}

/** Not RSA: making 10,000 of those takes a quarter of an hour. */
export function ed25519Key(): string {
  return String(generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }));
}
