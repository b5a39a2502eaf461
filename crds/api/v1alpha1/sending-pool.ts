/** SendingPool: a group of MTA pods with one queue, its sources and the rules they send by. Schema, type and defaults; pure. */
import { z } from "zod";
import { autoscaling } from "./autoscaling.ts";
import { compiledDefaults, storedDefaults } from "./defaults.ts";
import { egress } from "./egress.ts";
import {
  cidr,
  described,
  fullDomain,
  keyedList,
  numberOrText,
  objectName,
  orderedList,
  textMap,
  withRules,
} from "./fields.ts";
import { pod } from "./pod.ts";
import { service } from "./service.ts";

const server = z
  .string()
  .max(512)
  .regex(/^(nats|tls):\/\/[A-Za-z0-9._:[\]-]+$/, {
    error: "a server's URL, such as nats://nats:4222, without credentials",
  });

const secretRef = z.strictObject({
  name: described("Name of a Secret in the pool's namespace.", objectName),
});

const queue = z.strictObject({
  servers: described("NATS servers with JetStream.", orderedList(server, 16).min(1)),
  replicas: described(
    "Copies of each stream: 3 in a cluster, 1 on a single server.",
    z.literal([1, 3]).default(storedDefaults.queueReplicas),
  ),
  shards: described(
    "Spool streams, at least one a pod; 64 for pools of 32 pods. Fixed when the pool is made.",
    withRules(z.int().min(1).max(64), [
      {
        rule: "self == oldSelf",
        expected: "the value that the pool was made with: shards cannot be changed",
      },
    ]).default(storedDefaults.queueShards),
  ),
  maxBytesPerShard: described(
    `Size of each spool stream; intake stops at 80 %. ${compiledDefaults.maxBytesPerShard} unless set.`,
    z.int().min(16_777_216).max(17_592_186_044_416),
  ).optional(),
  credentialsSecretRef: described(
    "The pods' login at NATS: a Secret with `nats.creds`, or `username` and `password`, or `token`.",
    secretRef,
  ).optional(),
  tlsSecretRef: described(
    "TLS to NATS: a Secret with `ca.crt`, and `tls.crt` and `tls.key` where the server asks for them.",
    secretRef,
  ).optional(),
});

const trust = z.strictObject({
  cidr: described("Clients in this range need no login.", cidr),
  tenantRef: described(
    "The tenant, of the pool's namespace, whose mail it is.",
    z.strictObject({ name: described("Name of the tenant.", objectName) }),
  ),
});

const listener = z.strictObject({
  name: described("The listener; only port 25's may trust addresses.", z.enum(["smtp"])),
  trust: described(
    "Ranges of clients that are let in without a login.",
    keyedList(trust, "cidr", 64),
  ).optional(),
});

const allowedTenants = withRules(
  z.strictObject({
    from: described(
      "Same: the pool's namespace. Selector: also those with the labels of `selector`. All: every namespace.",
      z.enum(["Same", "Selector", "All"]).default(storedDefaults.allowedTenantsFrom),
    ),
    selector: described(
      "Labels of the namespaces that are let in.",
      z.strictObject({
        matchLabels: described("All of them, with these values.", textMap(16, 63)),
      }),
    ).optional(),
  }),
  [
    {
      rule: "has(self.selector) == (self.from == 'Selector')",
      expected: "a selector with from Selector, and only then",
      fault: ({ from, selector }) =>
        (selector !== undefined) === (from === "Selector")
          ? undefined
          : `from ${from} ${selector === undefined ? "without" : "with"} a selector`,
    },
  ],
);

export const sendingPoolSpecSchema = z.strictObject({
  replicas: described(
    "Pods; leave it out of Git when something scales it.",
    z.int().min(0).max(1000).default(storedDefaults.replicas),
  ),
  autoscaling: described(
    "The operator sets the number of pods, within these bounds, in place of `replicas`.",
    autoscaling,
  ).optional(),
  hostname: described("Name of the pool: in banners, trace headers and EHLO.", fullDomain),
  queue: described("Where mail is kept.", queue),
  egress: described("Where mail leaves from and may go to.", egress).optional(),
  trafficShapeRefs: described(
    "TrafficShapes of the pool's namespace, in order: the first rule that matches wins.",
    orderedList(z.strictObject({ name: described("Name of the shape.", objectName) }), 16),
  ).optional(),
  allowedTenants: described(
    "Namespaces whose tenants may use the pool; its own alone unless set.",
    allowedTenants,
  ).optional(),
  listeners: described("What is special about a listener.", keyedList(listener, "name", 1)).optional(),
  tls: described(
    "Certificate of the listeners; without one there is neither STARTTLS nor port 465, and no login but over HTTP.",
    z.strictObject({
      secretRef: described(
        "A Secret of type kubernetes.io/tls; renewals are taken over in seconds.",
        secretRef,
      ),
    }),
  ).optional(),
  service: described("How clients reach the pods.", service).optional(),
  image: described(
    "Image of the pods; the operator's unless set.",
    z
      .string()
      .max(512)
      .regex(/^[a-z0-9][A-Za-z0-9._:@/-]*$/, { error: "the name of an image" }),
  ).optional(),
  pod: described("What of the pods' template is yours.", pod).optional(),
  disruptionBudget: described(
    "How many pods the drain of nodes may take away at once.",
    z.strictObject({
      maxUnavailable: described(
        `Pods, or a share of them; ${compiledDefaults.maxUnavailable} unless set.`,
        numberOrText(1000, { pattern: "^(100|[0-9]{1,2})%$", max: 4, expected: "a number or a percentage" }),
      ),
    }),
  ).optional(),
  networkPolicy: described(
    "Who may connect to the pods.",
    z.strictObject({
      enabled: described(
        "A NetworkPolicy that lets in the listeners' and the metrics' ports alone; what goes out is free.",
        z.boolean().default(storedDefaults.networkPolicyEnabled),
      ),
    }),
  ).optional(),
  drain: described(
    "What a pod that stops may still do.",
    z.strictObject({
      timeoutSeconds: described(
        `Longest time for open transactions; ${compiledDefaults.drainTimeoutSeconds} unless set.`,
        z.int().min(30).max(7200),
      ).optional(),
    }),
  ).optional(),
});

export type SendingPoolSpec = z.infer<typeof sendingPoolSpecSchema>;
