/** The spec of a pool's pods: one container under the restricted profile, its probes, what of it is the user's. Pure. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { Resource } from "#crds/api/v1alpha1/snapshot.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { childNames, optional, selectorLabels } from "./object.ts";
import type { PoolIdentity } from "./object.ts";
import { podPorts } from "./ports.ts";
import { volumesOf } from "./volumes.ts";

export interface PodInput {
  readonly pool: Resource<SendingPoolSpec>;
  readonly image: string;
  readonly imagePullPolicy?: string | undefined;
}

/** Of the image's user. */
const userId = 65_532;

export const podSecurity = {
  runAsNonRoot: true,
  runAsUser: userId,
  runAsGroup: userId,
  fsGroup: userId,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
} as const;

/** Of a container. */
export const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  readOnlyRootFilesystem: true,
} as const;

/** Of a container with a metrics port. One that waits, for its configuration or for NATS, is alive and says in /readyz for what. */
export const probes = {
  // A node that starts many pods at once is slow: two minutes to open the ports.
  startupProbe: {
    httpGet: { path: "/healthz", port: "metrics" },
    periodSeconds: 2,
    timeoutSeconds: 5,
    failureThreshold: 60,
  },
  readinessProbe: {
    httpGet: { path: "/readyz", port: "metrics" },
    periodSeconds: 5,
    timeoutSeconds: 3,
    failureThreshold: 2,
  },
  livenessProbe: {
    httpGet: { path: "/healthz", port: "metrics" },
    periodSeconds: 10,
    timeoutSeconds: 5,
    failureThreshold: 6,
  },
} as const;

/** Until every node knows that the pod is no end point any more: kube-proxy takes about a second. */
const lameDuckMs = 3000;

/** What a pod does after its drain: hands its shards over, closes NATS. */
const handOverSeconds = 30;

export function podSpec(input: PodInput, pool: PoolIdentity): object {
  const { spec } = input.pool;
  const own = spec.pod ?? {};
  const drainSeconds = spec.drain?.timeoutSeconds ?? compiledDefaults.drainTimeoutSeconds;
  return {
    serviceAccountName: own.serviceAccountName ?? childNames.main(pool.name),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: drainSeconds + handOverSeconds,
    securityContext: podSecurity,
    ...(spec.egress?.mode === "HostNetwork"
      ? { hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" }
      : {}),
    ...optional("priorityClassName", own.priorityClassName),
    ...optional("nodeSelector", own.nodeSelector),
    ...optional("tolerations", own.tolerations),
    ...optional("affinity", own.affinity),
    ...optional("imagePullSecrets", own.imagePullSecrets),
    topologySpreadConstraints: spreadOf(spec, pool),
    containers: [container(input, pool)],
    volumes: volumesOf(pool, spec).map(({ volume }) => volume),
  };
}

function container({ pool: { spec }, image, imagePullPolicy }: PodInput, pool: PoolIdentity): object {
  const volumes = volumesOf(pool, spec);
  return {
    name: "mailboat",
    image: spec.image ?? image,
    ...optional("imagePullPolicy", imagePullPolicy),
    args: [...volumes.flatMap(({ args }) => args), "--lame-duck-ms", String(lameDuckMs)],
    env: [
      fromPod("POD_NAME", "metadata.name"),
      fromPod("POD_NAMESPACE", "metadata.namespace"),
      fromPod("POD_IP", "status.podIP"),
      ...userVariables(spec),
    ],
    ports: Object.entries(podPorts).map(([name, containerPort]) => ({
      name,
      containerPort,
      protocol: "TCP",
    })),
    resources: resourcesOf(spec),
    ...probes,
    securityContext: restricted,
    volumeMounts: volumes.map(({ mount }) => mount),
  };
}

function fromPod(name: string, fieldPath: string): object {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}

const ownVariables = new Set(["POD_NAME", "POD_NAMESPACE", "POD_IP"]);

function userVariables({ pod }: SendingPoolSpec): readonly object[] {
  return (pod?.env ?? []).filter(({ name }) => !ownVariables.has(name));
}

/** Requests that the user says nothing about are ours (a limit is a request as well); a limit never is, as it kills. */
function resourcesOf({ pod }: SendingPoolSpec): object {
  const { requests, limits } = pod?.resources ?? {};
  const ours = {
    ...(limits?.cpu === undefined ? { cpu: compiledDefaults.podCpu } : {}),
    ...(limits?.memory === undefined ? { memory: compiledDefaults.podMemory } : {}),
  };
  const all = { ...ours, ...requests };
  return { ...(Object.keys(all).length === 0 ? {} : { requests: all }), ...optional("limits", limits) };
}

/** Over zones and nodes, each revision for itself: a roll-out must not end lopsided. */
function spreadOf({ pod }: SendingPoolSpec, pool: PoolIdentity): object[] {
  const wanted = pod?.topologySpread ?? [
    { topologyKey: "topology.kubernetes.io/zone" },
    { topologyKey: "kubernetes.io/hostname" },
  ];
  return wanted.map(({ topologyKey, maxSkew = 1, whenUnsatisfiable = "ScheduleAnyway" }) => ({
    topologyKey,
    maxSkew,
    whenUnsatisfiable,
    labelSelector: { matchLabels: selectorLabels(pool.name, "pod") },
    matchLabelKeys: ["pod-template-hash"],
  }));
}
