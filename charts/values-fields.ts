/** Fields that values have in common, each with its default. What Kubernetes checks itself is let through as it is. Pure. */
import { z } from "zod";

export const anyObject = z.record(z.string(), z.unknown());

export const text = (what: string) => z.string().default("").describe(what);

export const stringMap = (what: string) => z.record(z.string(), z.string()).default({}).describe(what);

export const resources = (unlessSet: Record<string, unknown>) => anyObject.default(unlessSet);

export const nodeSelector = stringMap("Labels of the nodes.");
export const tolerations = z.array(anyObject).default([]).describe("Of the pods.");
export const affinity = anyObject.default({});

export const allOrLess = z.array(z.union([anyObject, z.string()])).default([]);

export const toggle = (unlessSet: boolean, what: string) =>
  z
    .strictObject({ enabled: z.boolean().default(unlessSet).describe(what) })
    .prefault({})
    .describe(what);

export const imageValues = (repository: string) =>
  z
    .strictObject({
      repository: z.string().min(1).default(repository).describe("Below `image.registry`."),
      tag: text("Else `image.tag`."),
      digest: z
        .string()
        .regex(/^(sha256:[0-9a-f]{64})?$/)
        .default("")
        .describe("sha256:..., in place of the tag."),
    })
    .prefault({})
    .describe("Its image.");
