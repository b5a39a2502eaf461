/** A kind → its CustomResourceDefinition. Pure; throws where the structural schema does. */
import { group, version } from "./v1alpha1/metadata.ts";
import type { Kind } from "./v1alpha1/kinds.ts";
import { structuralSchema } from "./structural.ts";
import type { JsonSchema } from "./structural.ts";

export function customResourceDefinition(kind: Kind): JsonSchema {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${kind.plural}.${group}` },
    spec: {
      group,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.kind.toLowerCase(),
        shortNames: [kind.shortName],
        categories: ["mailboat"],
      },
      scope: "Namespaced",
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns,
          ...(kind.selectableFields === undefined
            ? {}
            : { selectableFields: kind.selectableFields.map((jsonPath) => ({ jsonPath })) }),
          subresources: { status: {}, ...(kind.scale === undefined ? {} : { scale: kind.scale }) },
          schema: { openAPIV3Schema: rootSchema(kind) },
        },
      ],
    },
  };
}

function rootSchema(kind: Kind): JsonSchema {
  return {
    type: "object",
    description: kind.description,
    required: ["spec"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec: structuralSchema(kind.spec, `${kind.kind}.spec`),
      status: structuralSchema(kind.status, `${kind.kind}.status`),
    },
    ...(kind.rules === undefined ? {} : { "x-kubernetes-validations": kind.rules }),
  };
}
