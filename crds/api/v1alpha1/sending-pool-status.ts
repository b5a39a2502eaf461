/** SendingPool's status. Schema; pure. */
import { z } from "zod";
import { conditionsSchema, observedGeneration } from "./conditions.ts";
import { described } from "./fields.ts";

const podCount = z.int().min(0).max(100_000);
const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** What the pods report together; old when they cannot be asked. */
const queue = z.strictObject({
  messages: described("Entries that are queued.", count),
  sendable: described(
    "Those that are due or being sent, whatever limits say: neither waiting for their time nor suspended.",
    count,
  ).optional(),
  oldest: described(
    "When the oldest of them was accepted; absent when there is none.",
    z.string().max(64).meta({ format: "date-time" }),
  ).optional(),
});

/** A text, not an enum: an operator of a later release has words that the kind of an earlier one would refuse. */
const autoscaling = z.strictObject({
  reason: described(
    "Why it is that many pods, in a word of the table in operator/README.md.",
    z.string().max(128),
  ),
  since: described("When that became the reason.", z.string().max(64).meta({ format: "date-time" })),
});

export const sendingPoolStatusSchema = z.strictObject({
  observedGeneration: observedGeneration.optional(),
  conditions: conditionsSchema.optional(),
  desiredReplicas: described(
    "Pods that are wanted: `spec.replicas`, or what the autoscaler asks for.",
    podCount,
  ).optional(),
  replicas: described("Pods that exist.", podCount).optional(),
  readyReplicas: described("Pods that are ready.", podCount).optional(),
  updatedReplicas: described("Pods of the newest template.", podCount).optional(),
  terminatingReplicas: described("Pods that are handing over.", podCount).optional(),
  programmedReplicas: described("Pods that run the newest configuration.", podCount).optional(),
  autoscaling: described(
    "What the built-in autoscaler said last; only with `spec.autoscaling`.",
    autoscaling,
  ).optional(),
  selector: described(
    "Label selector of the pods, for the scale subresource.",
    z.string().max(1024),
  ).optional(),
  tenants: described("Tenants that are compiled.", z.int().min(0).max(10_000_000)).optional(),
  config: described(
    "The newest configuration.",
    z.strictObject({
      generation: described("Its number.", count),
      digest: described("Its SHA-256.", z.string().max(64)),
    }),
  ).optional(),
  queue: described("What is queued, as the pods last said.", queue).optional(),
});
