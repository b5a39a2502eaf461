/** The kinds of the group in one table: what the API server must know besides the schemas. Pure. */
import { z } from "zod";
import { apiVersion, metadataSchema } from "./metadata.ts";
import { sendingPoolSpecSchema, sendingPoolStatusSchema } from "./sending-pool.ts";
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
}

function condition(type: string, field: "status" | "reason"): string {
  return `.status.conditions[?(@.type=="${type}")].${field}`;
}

const ready: PrinterColumn = { name: "Ready", type: "string", jsonPath: condition("Ready", "status") };
const accepted: PrinterColumn = {
  name: "Accepted",
  type: "string",
  jsonPath: condition("Accepted", "status"),
};
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
      { name: "Desired", type: "integer", jsonPath: ".spec.replicas" },
      { name: "Pods", type: "integer", jsonPath: ".status.readyReplicas" },
      { name: "Programmed", type: "integer", jsonPath: ".status.programmedReplicas" },
      { name: "Tenants", type: "integer", jsonPath: ".status.tenants" },
      ready,
      reason,
      age,
    ],
    scale: {
      specReplicasPath: ".spec.replicas",
      statusReplicasPath: ".status.replicas",
      labelSelectorPath: ".status.selector",
    },
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
      accepted,
      { name: "Rules", type: "integer", jsonPath: ".status.ruleCount" },
      { name: "Pools", type: "integer", jsonPath: ".status.pools" },
      age,
    ],
  },
] as const satisfies readonly Kind[];

export type KindName = (typeof kinds)[number]["kind"];

function resourceSchema<Name extends KindName, Spec extends z.ZodType>(kind: Name, spec: Spec) {
  return z.strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal(kind),
    metadata: metadataSchema,
    spec,
    /** Ours to write, nobody's to hand in: whatever a copy from the cluster carries is passed over. */
    status: z.unknown().optional(),
  });
}

export const sendingPoolSchema = resourceSchema("SendingPool", sendingPoolSpecSchema);
export const tenantSchema = resourceSchema("Tenant", tenantSpecSchema);
export const trafficShapeSchema = resourceSchema("TrafficShape", trafficShapeSpecSchema);
