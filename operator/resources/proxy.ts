/** The egress proxies that the operator runs for a pool: a StatefulSet, so that each keeps its name, and what goes with it. Pure. */
import { createHmac } from "node:crypto";
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import { egressProxyName } from "#crds/api/v1alpha1/egress.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { child, childLabels, childNames, optional, selectorLabels } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";
import { podSecurity, type PodInput, probes, restricted } from "./pod-spec.ts";

export interface ProxyInput extends PodInput {
  readonly adminToken: string;
}

const metricsPort = 9464;
const authDir = "/etc/mailboat/proxy";
/** Beyond the proxy's own drain. */
const leavingSeconds = 30;

/** [] unless a source of the pool, in mode Proxy, names one of them. In the order to apply them. */
export function proxyObjects(pool: PoolIdentity, input: ProxyInput): KubeObject[] {
  const { spec } = input.pool;
  const replicas = proxiesOf(spec);
  if (replicas === 0) return [];
  return [
    ...(spec.egress?.proxy?.secretRef === undefined ? [loginSecret(pool, input.adminToken)] : []),
    headlessService(pool),
    ...(spec.networkPolicy?.enabled === true ? [policy(pool)] : []),
    budget(pool),
    statefulSet(pool, input, replicas),
  ];
}

/** Up to the highest ordinal that is used: those below it stay, since their names are other sources'. */
function proxiesOf({ egress }: SendingPoolSpec): number {
  if (egress?.mode !== "Proxy") return 0;
  return Math.max(0, ...(egress.sources ?? []).map(({ proxy }) => (proxy?.ordinal ?? -1) + 1));
}

/** Made of the admin token, which is kept: the same for every operator, and telling nothing of it. */
function loginSecret(pool: PoolIdentity, adminToken: string): KubeObject {
  const password = createHmac("sha256", adminToken).update("egress proxies").digest("base64url");
  const data = { username: "pods", password };
  return child(
    { pool, apiVersion: "v1", kind: "Secret", name: egressProxyName(pool.name), component: "proxy" },
    {
      type: "Opaque",
      data: Object.fromEntries(
        Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
      ),
    },
  );
}

/** Gives each proxy its name in DNS, as long as it is ready. */
function headlessService(pool: PoolIdentity): KubeObject {
  return child(
    { pool, apiVersion: "v1", kind: "Service", name: egressProxyName(pool.name), component: "proxy" },
    {
      spec: {
        clusterIP: "None",
        selector: selectorLabels(pool.name, "proxy"),
        ports: [{ name: "socks", port: compiledDefaults.proxyPort, protocol: "TCP", targetPort: "socks" }],
      },
    },
  );
}

/** The pool's pods, and whoever scrapes. */
function policy(pool: PoolIdentity): KubeObject {
  const tcp = (port: number): object[] => [{ port, protocol: "TCP" }];
  return child(
    {
      pool,
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      name: egressProxyName(pool.name),
      component: "proxy",
    },
    {
      spec: {
        podSelector: { matchLabels: selectorLabels(pool.name, "proxy") },
        policyTypes: ["Ingress"],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: selectorLabels(pool.name, "pod") } }],
            ports: tcp(compiledDefaults.proxyPort),
          },
          { ports: tcp(metricsPort) },
        ],
      },
    },
  );
}

/** One source at a time. */
function budget(pool: PoolIdentity): KubeObject {
  return child(
    {
      pool,
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      name: egressProxyName(pool.name),
      component: "proxy",
    },
    {
      spec: {
        maxUnavailable: 1,
        selector: { matchLabels: selectorLabels(pool.name, "proxy") },
        unhealthyPodEvictionPolicy: "AlwaysAllow",
      },
    },
  );
}

function statefulSet(pool: PoolIdentity, input: ProxyInput, replicas: number): KubeObject {
  const { spec } = input.pool;
  const name = egressProxyName(pool.name);
  return child(
    { pool, apiVersion: "apps/v1", kind: "StatefulSet", name, component: "proxy" },
    {
      spec: {
        replicas,
        serviceName: name,
        // Each is for itself: one that does not start holds up no other.
        podManagementPolicy: "Parallel",
        selector: { matchLabels: selectorLabels(pool.name, "proxy") },
        template: {
          metadata: { labels: { ...spec.pod?.labels, ...childLabels(pool.name, "proxy") } },
          spec: proxyPodSpec(pool, input),
        },
      },
    },
  );
}

function proxyPodSpec(pool: PoolIdentity, input: ProxyInput): object {
  const { spec } = input.pool;
  const own = spec.pod ?? {};
  const drainSeconds = spec.drain?.timeoutSeconds ?? compiledDefaults.drainTimeoutSeconds;
  const secretName = spec.egress?.proxy?.secretRef?.name ?? egressProxyName(pool.name);
  return {
    serviceAccountName: own.serviceAccountName ?? childNames.main(pool.name),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: drainSeconds + leavingSeconds,
    securityContext: podSecurity,
    ...(spec.egress?.proxy?.hostNetwork === true
      ? { hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" }
      : {}),
    ...optional("priorityClassName", own.priorityClassName),
    ...optional("nodeSelector", own.nodeSelector),
    ...optional("tolerations", own.tolerations),
    ...optional("imagePullSecrets", own.imagePullSecrets),
    topologySpreadConstraints: [
      {
        topologyKey: "kubernetes.io/hostname",
        maxSkew: 1,
        whenUnsatisfiable: "ScheduleAnyway",
        labelSelector: { matchLabels: selectorLabels(pool.name, "proxy") },
      },
    ],
    containers: [proxyContainer(input, drainSeconds)],
    // Not optional: a proxy lets nobody in without it.
    volumes: [{ name: "login", secret: { secretName, defaultMode: 0o440 } }],
  };
}

function proxyContainer(
  { pool: { spec }, image, imagePullPolicy }: ProxyInput,
  drainSeconds: number,
): object {
  const allowed = [...new Set(spec.egress?.allowDestinations ?? [])].sort();
  return {
    name: "mailboat",
    image: spec.image ?? image,
    ...optional("imagePullPolicy", imagePullPolicy),
    command: ["node", "mta-pod/proxy-main.ts"],
    args: [
      "--auth-dir",
      authDir,
      "--drain-ms",
      String(drainSeconds * 1000),
      ...allowed.flatMap((cidr) => ["--allow-destination", cidr]),
    ],
    ports: [
      { name: "socks", containerPort: compiledDefaults.proxyPort, protocol: "TCP" },
      { name: "metrics", containerPort: metricsPort, protocol: "TCP" },
    ],
    resources: {
      requests: { cpu: compiledDefaults.proxyCpu, memory: compiledDefaults.proxyMemory },
    },
    ...probes,
    securityContext: restricted,
    volumeMounts: [{ name: "login", mountPath: authDir, readOnly: true }],
  };
}
