/** SendingPool's `service`: how clients reach the pods. Schema; pure. */
import { z } from "zod";
import { described, textMap, withRules } from "./fields.ts";

export const service = withRules(
  z.strictObject({
    type: described(
      "How clients reach the pool; ClusterIP unless set.",
      z.enum(["ClusterIP", "NodePort", "LoadBalancer"]),
    ).optional(),
    annotations: described("Annotations of the Service.", textMap(32, 4096)).optional(),
    loadBalancerClass: described(
      "Who makes the load balancer. Fixed once it is there.",
      z
        .string()
        .max(253)
        .regex(/^([a-z0-9.-]+\/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/, {
          error: "a class such as example.com/internal",
        }),
    ).optional(),
    externalTrafficPolicy: described(
      "Local keeps clients' addresses, which `listeners[].trust` goes by; Cluster unless set.",
      z.enum(["Cluster", "Local"]),
    ).optional(),
  }),
  [
    {
      rule: "!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')",
      expected: "externalTrafficPolicy only with type NodePort or LoadBalancer",
      fault: ({ type, externalTrafficPolicy }) =>
        externalTrafficPolicy === undefined || (type !== undefined && type !== "ClusterIP")
          ? undefined
          : `type ${type ?? "ClusterIP"}`,
    },
    {
      rule: "!has(self.loadBalancerClass) || (has(self.type) && self.type == 'LoadBalancer')",
      expected: "loadBalancerClass only with type LoadBalancer",
      fault: ({ type, loadBalancerClass }) =>
        loadBalancerClass === undefined || type === "LoadBalancer"
          ? undefined
          : `type ${type ?? "ClusterIP"}`,
    },
  ],
);
