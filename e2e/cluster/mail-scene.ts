/** Mailboat as a user has it: chart installed, a pool, a tenant and a provider; what is sent comes by the pool's Service and is counted at the provider. */
import { join } from "node:path";
import { type TestCertificate, testCertificate } from "#test/kit/certificates.ts";
import { until } from "#test/kit/until.ts";
import { type Load, type LoadOptions, startLoad } from "../kit/load.ts";
import type { Cluster } from "./cluster.ts";
import { root } from "./images/images.ts";
import { providerObjects } from "./provider.ts";

export const namespace = "mail";
export const system = "mailboat-system";
export const pool = "shared";
/** Of the chart's NATS. */
export const natsUrl = `nats://mailboat-nats.${system}:4222`;
export const password = "change-me-before-use";
/** site0.test, site1.test, …: each with its own MX. */
export const siteCount = 8;
/** Mail for it is deferred a few times before it is taken. */
export const slowDomain = "slow.test";

export interface MailScene {
  readonly certificate: TestCertificate;
  /** HOST:PORT, from here, of port 587 of the pool's Service. */
  readonly smtp: string;
  /** HOST:PORT, from here, of the provider's control port. */
  readonly control: string;
  /** By port 465, with TLS taken off on the way. */
  load(options: Partial<LoadOptions> & Pick<LoadOptions, "messages">): Load;
  /** Of each id: how often the provider took it. */
  arrivals(): Promise<Map<string, number>>;
  /** Of each address that the provider got mail from: how many messages. */
  sources(): Promise<Map<string, number>>;
  /** Waits until all that was accepted has arrived. @throws Error that counts what is missing */
  arrived(loads: readonly Load[], boundMs?: number): Promise<Map<string, number>>;
}

/** `more`: fields of its spec, in place of these. */
export const tenantObjects = (name: string, more: Readonly<Record<string, unknown>> = {}): object[] => [
  {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { namespace, name: `${name}-smtp` },
    stringData: { username: name, password },
  },
  {
    apiVersion: "mailboat.dev/v1alpha1",
    kind: "Tenant",
    metadata: { namespace, name },
    spec: {
      poolRef: { name: pool },
      domains: [{ name: `${name}.example` }],
      credentials: [{ name: "app", secretRef: { name: `${name}-smtp` } }],
      ...more,
    },
  },
];

export const shapeObject = (connections: number): object => ({
  apiVersion: "mailboat.dev/v1alpha1",
  kind: "TrafficShape",
  metadata: { namespace, name: "providers" },
  spec: {
    rules: [
      {
        name: "all",
        match: { domains: ["*"] },
        limits: { connections, messagesPerConnection: 1000 },
        retry: { first: "3s", max: "3s" },
      },
    ],
  },
});

/** Its listeners have the certificate of `tlsObject`; `more`: fields of its spec, in place of these. */
export const poolObject = (name: string, more: Readonly<Record<string, unknown>> = {}): object => ({
  apiVersion: "mailboat.dev/v1alpha1",
  kind: "SendingPool",
  metadata: { namespace, name },
  spec: {
    replicas: 1,
    hostname: "out.example.net",
    queue: { servers: [natsUrl], replicas: 1 },
    egress: { mode: "PodNetwork", allowDestinations: ["10.0.0.0/8"] },
    trafficShapeRefs: [{ name: "providers" }],
    tls: { secretRef: { name: `${name}-tls` } },
    drain: { timeoutSeconds: 30 },
    ...more,
  },
});

export const tlsObject = (name: string, { cert, key }: TestCertificate): object => ({
  apiVersion: "v1",
  kind: "Secret",
  type: "kubernetes.io/tls",
  metadata: { namespace, name: `${name}-tls` },
  stringData: { "tls.crt": cert, "tls.key": key },
});

/** By which the pool's Service is known in the cluster. */
export function hostOf(name: string): string {
  return `mailboat-${name}.${namespace}.svc.cluster.local`;
}

const chart = join(root, "charts", "mailboat");

/** Of `helm install` and `helm upgrade`: the release, this repository's chart, values for a cluster without volumes. */
export const chartArguments: readonly string[] = [
  "mailboat",
  chart,
  "--namespace",
  system,
  "--values",
  join(chart, "ci", "trial-values.yaml"),
  "--wait",
  "--timeout",
  "120s",
];

/** Takes pods under the restricted profile only, and warns of templates of others. */
export const namespaceObject = (name: string): object => {
  const podSecurity = "pod-security.kubernetes.io";
  const labels = { [`${podSecurity}/enforce`]: "restricted", [`${podSecurity}/warn`]: "restricted" };
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
};

/** `more`: as `--set NAME=VALUE`. */
export async function installChart(cluster: Cluster, more: readonly string[] = []): Promise<string> {
  await cluster.apply([namespaceObject(system)]);
  return cluster.helm(["install", ...chartArguments, ...more.flatMap((value) => ["--set", value])]);
}

export interface SceneOptions {
  /** Fields of the pool's spec, in place of the scene's. */
  readonly pool?: Readonly<Record<string, unknown>>;
  /** Rules of the provider, before the scene's. */
  readonly rules?: readonly object[];
}

/** The chart is there already. */
export async function startMailScene(cluster: Cluster, options: SceneOptions = {}): Promise<MailScene> {
  const host = hostOf(pool);
  const certificate = await testCertificate([host]);
  const sites = Array.from({ length: siteCount }, (_, index) => `site${index}.test`);
  const mx = [...sites, slowDomain].map(
    (domain) => `${domain}. 1 IN MX 10 ${mxOf(domain)}.mail.svc.cluster.local.`,
  );
  await cluster.setZone(mx);
  await cluster.apply([namespaceObject(namespace)]);
  const deferred = { domains: [slowDomain], defer: { times: 2, code: 451, text: "4.3.0 later" } };
  const rules = { rules: [...(options.rules ?? []), deferred] };
  const provider = providerObjects({ namespace, name: "provider", rules });
  await cluster.apply([
    ...provider,
    // One provider, a Service for each site: sites are told apart by the names of their MX hosts.
    ...[...sites, slowDomain].map((domain) => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace, name: mxOf(domain) },
      spec: { selector: { app: "provider" }, ports: [{ port: 25, targetPort: 2525 }] },
    })),
    tlsObject(pool, certificate),
    poolObject(pool, options.pool),
    shapeObject(4),
    ...tenantObjects("acme"),
  ]);
  const wait = ["wait", "-n", namespace, "--timeout=90s"];
  await cluster.kubectl([...wait, "--for=condition=Ready", `sendingpool/${pool}`, "tenant/acme"]);
  await cluster.kubectl([...wait, "--for=condition=Available", "deployment/provider"]);
  const ip = await serviceIp(cluster, `mailboat-${pool}`);
  const smtp = await cluster.forward(`${ip}:587`);
  const submissions = await cluster.forward(`${ip}:465`, { ca: certificate.ca, servername: host });
  const control = await cluster.forward(`${await serviceIp(cluster, "provider")}:80`);
  const arrivals = async (): Promise<Map<string, number>> => {
    const text = await (await fetch(`http://${control.address}/v1/ids`)).text();
    const lines = text.split("\n").filter((line) => line !== "");
    const counts = new Map<string, number>();
    for (const line of lines) {
      const { id, count } = JSON.parse(line) as { id: string; count: number };
      counts.set(id, (counts.get(id) ?? 0) + count);
    }
    return counts;
  };
  return {
    certificate,
    smtp: smtp.address,
    control: control.address,
    arrivals,
    async sources() {
      const stats = (await (await fetch(`http://${control.address}/v1/stats`)).json()) as {
        sources: Record<string, { messages: number }>;
      };
      return new Map(Object.entries(stats.sources).map(([address, { messages }]) => [address, messages]));
    },
    load: (wanted) =>
      startLoad({
        address: () => submissions.address,
        connections: 4,
        bytes: 4000,
        domains: sites,
        user: "acme",
        password,
        from: "news@acme.example",
        ...wanted,
      }),
    async arrived(loads, boundMs = 60_000) {
      let counts = await arrivals();
      const missing = (): string[] =>
        loads.flatMap(({ accepted }) => [...accepted.keys()].filter((id) => !counts.has(id)));
      await until(
        "all accepted mail to arrive",
        async () => {
          counts = await arrivals();
          return missing().length === 0;
        },
        boundMs,
      ).catch((error: unknown) => {
        throw new Error(`${missing().length} are missing: ${missing().slice(0, 5).join(" ")}`, {
          cause: error,
        });
      });
      return counts;
    },
  };
}

/** Number of the configuration that all pods of the pool run; 0 while some run another. */
export async function liveConfiguration(cluster: Cluster, name = pool): Promise<number> {
  const { status } = (await cluster.get(["-n", namespace, `sendingpool/${name}`])) as {
    status: { config?: { generation: number }; conditions: { type: string; status: string }[] };
  };
  const isLive = status.conditions.find(({ type }) => type === "Programmed")?.status === "True";
  return isLive ? (status.config?.generation ?? 0) : 0;
}

/** Once nothing is under way any more. */
export async function settledConfiguration(cluster: Cluster, name = pool): Promise<number> {
  return until(
    "nothing to be under way",
    async () => {
      const live = await liveConfiguration(cluster, name);
      return live > 0 && live;
    },
    60_000,
  );
}

interface PodFacts {
  readonly name: string;
  readonly uid: string;
  readonly ip: string;
  readonly isReady: boolean;
}

/** Of the pool; those on their way out are not ready. */
export async function podsOf(cluster: Cluster, component: "pod" | "proxy" = "pod"): Promise<PodFacts[]> {
  const selector = `app.kubernetes.io/component=${component},mailboat.dev/pool=${pool}`;
  const { items } = (await cluster.get(["pods", "-n", namespace, "-l", selector])) as {
    items: {
      metadata: { name: string; uid: string; deletionTimestamp?: string };
      status: { podIP?: string; conditions?: { type: string; status: string }[] };
    }[];
  };
  return items.map(({ metadata, status }) => ({
    name: metadata.name,
    uid: metadata.uid,
    ip: status.podIP ?? "",
    isReady:
      metadata.deletionTimestamp === undefined &&
      status.conditions?.find(({ type }) => type === "Ready")?.status === "True",
  }));
}

export async function readyPods(cluster: Cluster): Promise<PodFacts[]> {
  return (await podsOf(cluster)).filter(({ isReady }) => isReady);
}

function mxOf(domain: string): string {
  return `mx-${domain.split(".")[0]}`;
}

export async function serviceIp(cluster: Cluster, name: string, where = namespace): Promise<string> {
  const { spec } = (await cluster.get(["-n", where, `service/${name}`])) as {
    spec: { clusterIP: string };
  };
  return spec.clusterIP;
}
