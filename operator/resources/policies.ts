/** Who pods are, who may connect to them, how many may go at once, who scrapes them. Pure. */
import { compiledDefaults } from "#crds/api/v1alpha1/defaults.ts";
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { child, childNames, componentLabel, selectorLabels } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";
import { frontPorts, podPorts } from "./ports.ts";

/** Pods do not talk to the API server: no token is mounted. */
export function serviceAccount(pool: PoolIdentity): KubeObject {
  return child(
    { pool, apiVersion: "v1", kind: "ServiceAccount", name: childNames.main(pool.name) },
    { automountServiceAccountToken: false },
  );
}

/** A pod that is not ready is in nobody's way when its node is drained. */
export function disruptionBudget(pool: PoolIdentity, spec: SendingPoolSpec): KubeObject {
  return child(
    { pool, apiVersion: "policy/v1", kind: "PodDisruptionBudget", name: childNames.main(pool.name) },
    {
      spec: {
        maxUnavailable: spec.disruptionBudget?.maxUnavailable ?? compiledDefaults.maxUnavailable,
        selector: { matchLabels: selectorLabels(pool.name, "pod") },
        unhealthyPodEvictionPolicy: "AlwaysAllow",
      },
    },
  );
}

/** Nothing about what goes out: mail goes anywhere, and what may not be reached is `egress.allowDestinations`' matter. */
export function networkPolicy(pool: PoolIdentity, spec: SendingPoolSpec): KubeObject {
  const ports = [...frontPorts(spec).map(({ name }) => podPorts[name]), podPorts.admin, podPorts.metrics];
  return child(
    { pool, apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", name: childNames.main(pool.name) },
    {
      spec: {
        podSelector: { matchLabels: selectorLabels(pool.name, "pod") },
        policyTypes: ["Ingress"],
        ingress: [{ ports: ports.map((port) => ({ port, protocol: "TCP" })) }],
      },
    },
  );
}

/**
 * Of prometheus-operator, where that is. The chart's dashboards and alerts select by the two labels that its relabelings set; `labels` are
 * what a Prometheus selects PodMonitors by.
 */
export function podMonitor(pool: PoolIdentity, labels: Readonly<Record<string, string>> = {}): KubeObject {
  const { [componentLabel]: _component, ...others } = selectorLabels(pool.name, "pod");
  return child(
    {
      pool,
      apiVersion: "monitoring.coreos.com/v1",
      kind: "PodMonitor",
      name: childNames.main(pool.name),
      labels,
    },
    {
      spec: {
        // The egress proxies as well, where the pool has some.
        selector: {
          matchLabels: others,
          matchExpressions: [{ key: componentLabel, operator: "In", values: ["pod", "proxy"] }],
        },
        podMetricsEndpoints: [
          {
            port: "metrics",
            relabelings: [
              {
                sourceLabels: ["__meta_kubernetes_pod_label_app_kubernetes_io_component"],
                targetLabel: "job",
                replacement: "mailboat-$1",
              },
              { targetLabel: "pool", replacement: pool.name },
            ],
          },
        ],
      },
    },
  );
}
