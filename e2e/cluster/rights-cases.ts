/** Calls that the operator's account must and must not get through, and the rights that an ordinary life does not use. */
import { namespace, pool, system } from "./mail-scene.ts";
import type { Right } from "./rights.ts";

/** Of the table, with the reason why it stays. */
export const unusedRights: ReadonlyMap<Right, string> = new Map([
  ["delete /serviceaccounts", "when the pods of a pool get an account of the user's"],
  [
    "update mailboat.dev/sendingpools/finalizers",
    "where the admission plug-in OwnerReferencesPermissionEnforcement is on",
  ],
]);

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly isAllowed: boolean;
}

const dry = "?dryRun=All";
const ours = `/apis/mailboat.dev/v1alpha1/namespaces/${namespace}`;
const core = (where: string): string => `/api/v1/namespaces/${where}`;
const roles = "/apis/rbac.authorization.k8s.io/v1";

/** Reads are real; writes that must work are dry, since authorization comes first and what is there must not change. */
export function calls({ isWide }: { readonly isWide: boolean }): Call[] {
  const allowed = (method: Call["method"], path: string, body?: unknown): Call => ({
    method,
    path,
    body,
    isAllowed: true,
  });
  const refused = (method: Call["method"], path: string, body?: unknown): Call => ({
    method,
    path,
    body,
    isAllowed: false,
  });
  const elsewhere = isWide ? allowed : refused;
  const map = { metadata: { name: "x" }, data: {} };
  const admin = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" };
  const account = { kind: "ServiceAccount", namespace: system, name: "mailboat-operator" };
  return [
    // What it lives by.
    allowed("GET", `${ours}/tenants`),
    // What is watched is never read one by one.
    refused("GET", `${ours}/tenants/acme`),
    refused("GET", `${ours}/sendingpools/${pool}`),
    allowed("GET", `${core(namespace)}/secrets/acme-smtp`),
    allowed("PATCH", `${ours}/tenants/acme${dry}`, { metadata: { annotations: { "mailboat.dev/x": "y" } } }),
    allowed("PATCH", `${ours}/tenants/acme/status${dry}`, { status: {} }),
    allowed("POST", `${core(namespace)}/configmaps${dry}`, map),
    allowed("DELETE", `${core(namespace)}/configmaps/mailboat-${pool}-config${dry}`),
    allowed("GET", `/apis/coordination.k8s.io/v1/namespaces/${system}/leases/mailboat-operator`),
    // Other namespaces, and the whole cluster.
    elsewhere("GET", "/api/v1/namespaces"),
    elsewhere("GET", "/api/v1/secrets"),
    elsewhere("GET", `${core("other")}/secrets`),
    elsewhere("GET", `${core("kube-system")}/secrets`),
    elsewhere("GET", `${core(system)}/secrets`),
    elsewhere("POST", `${core("other")}/configmaps${dry}`, map),
    elsewhere("GET", "/apis/mailboat.dev/v1alpha1/tenants"),
    // Our kinds are the user's: not made, replaced or deleted; a pool's and a shape's spec is out of reach whatever the verb.
    refused("POST", `${ours}/tenants`, { metadata: { name: "x" } }),
    refused("PUT", `${ours}/tenants/acme`, { metadata: { name: "acme" }, spec: {} }),
    refused("DELETE", `${ours}/tenants/acme`),
    refused("PATCH", `${ours}/sendingpools/${pool}`, { spec: { replicas: 9 } }),
    refused("PUT", `${ours}/sendingpools/${pool}`, { metadata: { name: pool }, spec: {} }),
    refused("DELETE", `${ours}/sendingpools/${pool}`),
    refused("PATCH", `${ours}/sendingpools/${pool}/scale`, { spec: { replicas: 9 } }),
    refused("PATCH", `${ours}/trafficshapes/providers`, { spec: { rules: [] } }),
    refused("DELETE", `${ours}/trafficshapes/providers`),
    refused("DELETE", `${ours}/tenants`),
    refused("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tenants.mailboat.dev", {
      metadata: {},
    }),
    // Pods are looked at, never entered, made or ended.
    refused("DELETE", `/apis/apps/v1/namespaces/${namespace}/deployments/mailboat-${pool}`),
    refused("POST", `${core(namespace)}/pods`, { metadata: { name: "x" }, spec: { containers: [] } }),
    refused("DELETE", `${core(namespace)}/pods/x`),
    refused("POST", `${core(namespace)}/pods/x/exec?command=sh`),
    refused("GET", `${core(namespace)}/pods/x/log`),
    refused("POST", `${core(namespace)}/pods/x/portforward`),
    refused("POST", `${core(namespace)}/pods/x/eviction`, {}),
    refused("PATCH", `${core(namespace)}/pods/x/ephemeralcontainers`, {}),
    // Nobody's rights, tokens or machines.
    refused("POST", `${core(namespace)}/serviceaccounts/mailboat-${pool}/token`, { spec: {} }),
    refused("POST", `${roles}/clusterrolebindings`, {
      metadata: { name: "x" },
      roleRef: admin,
      subjects: [account],
    }),
    refused("POST", `${roles}/namespaces/${namespace}/rolebindings`, {
      metadata: { name: "x" },
      roleRef: admin,
      subjects: [account],
    }),
    refused("PATCH", `${roles}/clusterroles/cluster-admin`, { rules: [] }),
    refused("GET", `${roles}/clusterroles`),
    refused("GET", "/api/v1/nodes"),
    refused("DELETE", "/api/v1/nodes/node"),
    refused("DELETE", `/api/v1/namespaces/${namespace}`),
    refused("GET", "/api/v1/persistentvolumes"),
    refused("PUT", `${core(namespace)}/secrets/acme-smtp`, { metadata: { name: "acme-smtp" } }),
    refused("DELETE", `${core(namespace)}/secrets`),
    // The Lease of its own name, and no other.
    refused("GET", `/apis/coordination.k8s.io/v1/namespaces/${system}/leases`),
    refused("GET", `/apis/coordination.k8s.io/v1/namespaces/${system}/leases/another`),
    refused("DELETE", `/apis/coordination.k8s.io/v1/namespaces/${system}/leases/mailboat-operator`),
    refused("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/mailboat-operator"),
  ];
}
