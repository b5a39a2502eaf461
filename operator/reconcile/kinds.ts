/** The kinds that the operator watches and writes, as the API server serves them. */
import { group, version } from "#crds/api/v1alpha1/metadata.ts";
import type { ResourceType } from "#operator/kube/types.ts";

const core = (plural: string, kind: string): ResourceType => ({
  group: "",
  version: "v1",
  plural,
  kind,
  namespaced: true,
});
const own = (plural: string, kind: string): ResourceType => ({ ...core(plural, kind), group, version });

export const kinds = {
  tenants: own("tenants", "Tenant"),
  pools: own("sendingpools", "SendingPool"),
  shapes: own("trafficshapes", "TrafficShape"),
  secrets: core("secrets", "Secret"),
  configMaps: core("configmaps", "ConfigMap"),
  services: core("services", "Service"),
  serviceAccounts: core("serviceaccounts", "ServiceAccount"),
  pods: core("pods", "Pod"),
  namespaces: { ...core("namespaces", "Namespace"), namespaced: false },
  deployments: { ...core("deployments", "Deployment"), group: "apps" },
  statefulSets: { ...core("statefulsets", "StatefulSet"), group: "apps" },
  budgets: { ...core("poddisruptionbudgets", "PodDisruptionBudget"), group: "policy" },
  networkPolicies: { ...core("networkpolicies", "NetworkPolicy"), group: "networking.k8s.io" },
  podMonitors: { ...core("podmonitors", "PodMonitor"), group: "monitoring.coreos.com" },
  events: { ...core("events", "Event"), group: "events.k8s.io" },
} as const satisfies Record<string, ResourceType>;

/** Whose holder leads. */
export const leaseName = "mailboat-operator";

/** The operator's marks on objects. */
export const marks = {
  finalizer: "mailboat.dev/drain",
  paused: "mailboat.dev/paused",
  reconcileAt: "mailboat.dev/reconcile-at",
  skipDrain: "mailboat.dev/skip-drain",
  /** On pods and on ConfigMaps of tenants and of the manifest: which configuration; of these, as of their last writing. */
  config: "mailboat.dev/config",
  /** On children: hash of what was applied. */
  applied: "mailboat.dev/applied",
} as const;
