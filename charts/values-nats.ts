/** Values of the chart's own NATS: schema, defaults and prose. Pure. */
import { z } from "zod";
import { affinity, nodeSelector, resources, stringMap, text, toggle, tolerations } from "./values-fields.ts";

export const natsValues = z
  .strictObject({
    enabled: z
      .boolean()
      .default(true)
      .describe(
        "A NATS for a start. false: pools name yours (2.14 or later with JetStream) in `spec.queue.servers`.",
      ),
    image: z
      .strictObject({
        registry: text("Registry and folder; `image.registry` is not used."),
        repository: z.string().min(1).default("nats").describe("Its repository."),
        tag: z
          .string()
          .default("2.15.1-alpine")
          .describe("2.14 or later; 2.15.1 commits in groups, which is faster."),
        pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent").describe("Of it."),
      })
      .prefault({})
      .describe("The image of nats-server."),
    replicas: z
      .literal([1, 3])
      .default(3)
      .describe("3: pools with `queue.replicas` 3 survive the loss of one. 1: `queue.replicas: 1`."),
    syncAlways: z
      .boolean()
      .nullable()
      .default(null)
      .describe(
        "Sync the disk before each acknowledgement. null: with one replica, where nothing else keeps the mail.",
      ),
    tokenSecret: text(
      "A Secret of the release's namespace with `token` (letters and digits, a letter first) that clients must give. Pools name a copy of it in `spec.queue.credentialsSecretRef`.",
    ),
    storage: z
      .strictObject({
        persistent: z
          .boolean()
          .default(true)
          .describe("A volume per server. false: mail is lost with the pods; for trials only."),
        size: z
          .string()
          .default("32Gi")
          .describe(
            'Size of each volume. Fixed once they are there: see "More room for NATS" in charts/README.md.',
          ),
        limit: z
          .string()
          .regex(/^[1-9][0-9]*(Mi|Gi|Ti)$/)
          .default("28Gi")
          .describe(
            "What JetStream may fill. A pool with the defaults reserves 19.1 GiB of it, on each server.",
          ),
        storageClassName: text("Else the cluster's default."),
      })
      .prefault({})
      .describe("Where the mail is."),
    resources: resources({
      requests: { cpu: "250m", memory: "512Mi" },
      limits: { memory: "2Gi" },
    }).describe("About 0.5 KB of memory per deferred message besides what the server needs."),
    podAnnotations: stringMap("Annotations of the pods."),
    nodeSelector,
    tolerations,
    affinity: affinity.describe("Else servers keep apart from each other, where they can."),
    priorityClassName: text("PriorityClass of the pods."),
    podDisruptionBudget: toggle(true, "A budget of one unavailable; only with three replicas."),
    networkPolicy: toggle(true, "Lets in only pods of Mailboat."),
  })
  .prefault({})
  .describe("A NATS of the chart's own.");
