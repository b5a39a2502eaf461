/** The Prometheus operator's kinds, as far as an API server needs to know them: it takes whatever is in them. */

const group = "monitoring.coreos.com";

function definition(kind: string): object {
  const singular = kind.toLowerCase();
  const plural = `${singular}s`;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { plural, singular, kind, listKind: `${kind}List` },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
        },
      ],
    },
  };
}

export const podMonitorKind = definition("PodMonitor");
/** All that the chart makes objects of. */
export const monitoringKinds: readonly object[] = [
  podMonitorKind,
  definition("ServiceMonitor"),
  definition("PrometheusRule"),
];
