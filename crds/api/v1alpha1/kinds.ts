/** The kinds of the group in one table: what the API server must know besides the schemas. Pure. */
import { z } from "zod";
import { poolName } from "./fields.ts";
import { apiVersion, metadataSchema } from "./metadata.ts";
import { sendingPoolStatusSchema } from "./sending-pool-status.ts";
import { sendingPoolSpecSchema } from "./sending-pool.ts";
import { tenantSpecSchema, tenantStatusSchema } from "./tenant.ts";
import { trafficShapeSpecSchema, trafficShapeStatusSchema } from "./traffic-shape.ts";

interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  readonly priority?: number;
}

export interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly description: string;
  readonly spec: z.ZodType;
  readonly status: z.ZodType;
  readonly columns: readonly PrinterColumn[];
  readonly scale?: { specReplicasPath: string; statusReplicasPath: string; labelSelectorPath: string };
  readonly selectableFields?: readonly string[];
  /** Rules about the whole object, its name included. */
  readonly rules?: readonly { readonly rule: string; readonly message: string }[];
}

function condition(type: string, field: "status" | "reason" | "message"): string {
  return `.status.conditions[?(@.type=="${type}")].${field}`;
}

const ready: PrinterColumn = { name: "Ready", type: "string", jsonPath: condition("Ready", "status") };
const reason: PrinterColumn = {
  name: "Reason",
  type: "string",
  jsonPath: condition("Ready", "reason"),
  priority: 1,
};
const age: PrinterColumn = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };

export const kinds = [
  {
    kind: "SendingPool",
    plural: "sendingpools",
    shortName: "mpool",
    description: "A group of MTA pods with one queue, its sources and the rules that it sends by.",
    spec: sendingPoolSpecSchema,
    status: sendingPoolStatusSchema,
    columns: [
      { name: "Desired", type: "integer", jsonPath: ".status.desiredReplicas" },
      { name: "Ready", type: "integer", jsonPath: ".status.readyReplicas" },
      { name: "Programmed", type: "integer", jsonPath: ".status.programmedReplicas" },
      { name: "Tenants", type: "integer", jsonPath: ".status.tenants" },
      { name: "Queued", type: "integer", jsonPath: ".status.queue.messages" },
      // A date is printed as an age.
      { name: "Oldest", type: "date", jsonPath: ".status.queue.oldest" },
      { ...reason, name: "Status", priority: 0 },
      { name: "Scaling", type: "string", jsonPath: ".status.autoscaling.reason", priority: 1 },
      age,
    ],
    scale: {
      specReplicasPath: ".spec.replicas",
      statusReplicasPath: ".status.replicas",
      labelSelectorPath: ".status.selector",
    },
    rules: [
      {
        rule: "self.metadata.name.size() <= 36 && !self.metadata.name.contains('.')",
        message: "expected the name of a pool: up to 36 lower-case letters, digits and inner hyphens",
      },
    ],
  },
  {
    kind: "Tenant",
    plural: "tenants",
    shortName: "mtenant",
    description: "Whose mail it is: domains and their keys, logins, limits.",
    spec: tenantSpecSchema,
    status: tenantStatusSchema,
    columns: [
      ready,
      { name: "State", type: "string", jsonPath: ".spec.state" },
      { name: "Pool", type: "string", jsonPath: ".spec.poolRef.name" },
      { name: "Domains", type: "integer", jsonPath: ".status.domainCount" },
      { name: "Programmed", type: "string", jsonPath: ".status.programmed" },
      { name: "Moving", type: "string", jsonPath: condition("Moving", "message"), priority: 1 },
      reason,
      age,
    ],
    selectableFields: [".spec.poolRef.name"],
  },
  {
    kind: "TrafficShape",
    plural: "trafficshapes",
    shortName: "mshape",
    description: "Ordered rules for destinations: how many, how fast, how safe, how often again.",
    spec: trafficShapeSpecSchema,
    status: trafficShapeStatusSchema,
    columns: [
      ready,
      { name: "Rules", type: "integer", jsonPath: ".status.ruleCount" },
      { name: "Pools", type: "integer", jsonPath: ".status.pools" },
      { name: "Tenants", type: "integer", jsonPath: ".status.tenants" },
      reason,
      age,
    ],
  },
] as const satisfies readonly Kind[];

export type KindName = (typeof kinds)[number]["kind"];

function resourceSchema<Name extends KindName, Spec extends z.ZodType>(
  kind: Name,
  spec: Spec,
  metadata = metadataSchema,
) {
  return z.strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal(kind),
    metadata,
    spec,
    /** Ours to write, nobody's to hand in: whatever a copy from the cluster carries is passed over. */
    status: z.unknown().optional(),
  });
}

export const sendingPoolSchema = resourceSchema(
  "SendingPool",
  sendingPoolSpecSchema,
  metadataSchema.extend({ name: poolName }),
);
export const tenantSchema = resourceSchema("Tenant", tenantSpecSchema);
export const trafficShapeSchema = resourceSchema("TrafficShape", trafficShapeSpecSchema);
