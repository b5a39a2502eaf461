/** A kind's spec and status as Markdown tables of fields, for the README. Pure. */
import type { Kind } from "./v1alpha1/kinds.ts";
import { structuralSchema } from "./structural.ts";
import type { JsonSchema } from "./structural.ts";

interface Row {
  readonly field: string;
  readonly type: string;
  readonly bounds: string;
  readonly description: string;
}

/** Fields of each condition, which are those of every kind of Kubernetes. */
const ofConditions = "status.conditions[].";

export function fieldTable(kind: Kind): string {
  const rows = rowsOf(structuralSchema(kind.spec, "spec"), "spec", true);
  return [
    `### ${kind.kind} (\`${kind.shortName}\`)`,
    "",
    kind.description,
    "",
    "| field | type | bounds and default | what it is |",
    "|---|---|---|---|",
    ...rows.map((row) => `| \`${row.field}\` | ${row.type} | ${row.bounds} | ${row.description} |`),
    "",
    "| status, the operator's to write | type | what it is |",
    "|---|---|---|",
    ...statusRows(kind).map((row) => `| \`${row.field}\` | ${row.type} | ${row.description} |`),
    "",
  ].join("\n");
}

function statusRows(kind: Kind): Row[] {
  const [, ...rows] = rowsOf(structuralSchema(kind.status, "status"), "status", true);
  return rows.filter(({ field }) => !field.startsWith(ofConditions));
}

function rowsOf(schema: JsonSchema, field: string, isRequired: boolean): Row[] {
  const items = part(schema, "items");
  const shape = items ?? schema;
  const properties = part(shape, "properties") ?? {};
  const required = listOf(shape["required"]);
  const path = items === undefined ? field : `${field}[]`;
  const own: Row = {
    field: path,
    type: typeOf(schema, items),
    bounds: cell(boundsOf(schema, items, isRequired)),
    description: cell([String(schema["description"] ?? ""), ...rulesOf(schema), ...rulesOf(items)]),
  };
  const below = Object.entries(properties).flatMap(([name, property]) =>
    isSchema(property) ? rowsOf(property, `${path}.${name}`, required.includes(name)) : [],
  );
  return [own, ...below];
}

function typeOf(schema: JsonSchema, items: JsonSchema | undefined): string {
  if (items === undefined) return typeName(schema);
  const keys = listOf(schema["x-kubernetes-list-map-keys"]);
  return `list of ${typeName(items)}${keys.length === 0 ? "" : ` by ${keys.join(", ")}`}`;
}

/** What may be a number or a text has no `type` of its own in a structural schema. */
function typeName(schema: JsonSchema): string {
  return schema["x-kubernetes-int-or-string"] === true ? "integer or string" : String(schema["type"]);
}

function boundsOf(schema: JsonSchema, items: JsonSchema | undefined, isRequired: boolean): string[] {
  const bounds: string[] = isRequired ? ["required"] : [];
  if (items !== undefined)
    bounds.push(`${String(schema["minItems"] ?? 0)}..${String(schema["maxItems"])} items`);
  const value = items ?? schema;
  if (value["enum"] !== undefined) bounds.push(listOf(value["enum"]).join(" \\| "));
  if (value["minimum"] !== undefined)
    bounds.push(`${String(value["minimum"])}..${String(value["maximum"] ?? "")}`);
  if (value["enum"] === undefined && value["maxLength"] !== undefined)
    bounds.push(`≤ ${String(value["maxLength"])} characters`);
  if (schema["default"] !== undefined) bounds.push(`default ${String(schema["default"])}`);
  return bounds;
}

function rulesOf(schema: JsonSchema | undefined): string[] {
  const rules = schema?.["x-kubernetes-validations"];
  if (!Array.isArray(rules)) return [];
  return rules.map((rule: unknown) => (isSchema(rule) ? `Rule: ${String(rule["message"])}.` : ""));
}

function cell(parts: readonly string[]): string {
  return parts
    .filter((text) => text !== "")
    .join("; ")
    .replaceAll(".; ", ". ");
}

function part(schema: JsonSchema, key: string): JsonSchema | undefined {
  const value = schema[key];
  return isSchema(value) ? value : undefined;
}

function listOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
