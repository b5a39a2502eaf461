/** SendingPool: a group of MTA pods with one queue, its sources and the rules they send by. Schema, type and defaults; pure. */
import { z } from "zod";
import { conditionsSchema, observedGeneration } from "./conditions.ts";
import { compiledDefaults, storedDefaults } from "./defaults.ts";
import { egress } from "./egress.ts";
import { cidr, described, fullDomain, keyedList, objectName, orderedList, withRules } from "./fields.ts";

const server = z
  .string()
  .max(512)
  .regex(/^(nats|tls):\/\/[A-Za-z0-9._:[\]-]+$/, {
    error: "a server's URL, such as nats://nats:4222, without credentials",
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

export const sendingPoolSpecSchema = z.strictObject({
  replicas: described(
    "Pods; leave it out of Git when something scales it.",
    z.int().min(0).max(1000).default(storedDefaults.replicas),
  ),
  hostname: described("Name of the pool: in banners, trace headers and EHLO.", fullDomain),
  queue: described("Where mail is kept.", queue),
  egress: described("Where mail leaves from and may go to.", egress).optional(),
  trafficShapeRefs: described(
    "TrafficShapes of the pool's namespace, in order: the first rule that matches wins.",
    orderedList(z.strictObject({ name: described("Name of the shape.", objectName) }), 16),
  ).optional(),
  listeners: described("What is special about a listener.", keyedList(listener, "name", 1)).optional(),
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

const podCount = z.int().min(0).max(100_000);

export const sendingPoolStatusSchema = z.strictObject({
  observedGeneration: observedGeneration.optional(),
  conditions: conditionsSchema.optional(),
  replicas: described("Pods that exist.", podCount).optional(),
  readyReplicas: described("Pods that are ready.", podCount).optional(),
  programmedReplicas: described("Pods that run the newest configuration.", podCount).optional(),
  selector: described(
    "Label selector of the pods, for the scale subresource.",
    z.string().max(1024),
  ).optional(),
  tenants: described("Tenants that are compiled.", z.int().min(0).max(10_000_000)).optional(),
  config: described(
    "The newest configuration.",
    z.strictObject({
      generation: described("Its number.", z.int().min(0).max(Number.MAX_SAFE_INTEGER)),
      digest: described("Its SHA-256.", z.string().max(64)),
    }),
  ).optional(),
});

export type SendingPoolSpec = z.infer<typeof sendingPoolSpecSchema>;
