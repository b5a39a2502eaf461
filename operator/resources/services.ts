/** The Services of a pool: the front doors, and the admin port. Pure. */
import type { SendingPoolSpec } from "#crds/api/v1alpha1/sending-pool.ts";
import { child, childNames, optional, selectorLabels } from "./object.ts";
import type { KubeObject, PoolIdentity } from "./object.ts";
import { frontPorts, podPorts } from "./ports.ts";

/** Ports lead to the pods' by name. */
export function poolService(pool: PoolIdentity, spec: SendingPoolSpec): KubeObject {
  const { type = "ClusterIP", annotations, loadBalancerClass, externalTrafficPolicy } = spec.service ?? {};
  return child(
    { pool, apiVersion: "v1", kind: "Service", name: childNames.main(pool.name), annotations },
    {
      spec: {
        type,
        ...optional("loadBalancerClass", loadBalancerClass),
        ...optional("externalTrafficPolicy", externalTrafficPolicy),
        selector: selectorLabels(pool.name, "pod"),
        ports: frontPorts(spec).map(({ name, port }) => tcp(name, port)),
      },
    },
  );
}

export function adminService(pool: PoolIdentity): KubeObject {
  return child(
    { pool, apiVersion: "v1", kind: "Service", name: childNames.admin(pool.name) },
    {
      spec: {
        type: "ClusterIP",
        selector: selectorLabels(pool.name, "pod"),
        ports: [tcp("admin", podPorts.admin)],
      },
    },
  );
}

/** With its protocol: it is part of the key by which the API server merges the list. */
function tcp(name: string, port: number): object {
  return { name, port, protocol: "TCP", targetPort: name };
}
