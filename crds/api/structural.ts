/** zod → the structural schemas that an API server takes. Pure; throws on everything that it would refuse or misread. */
import { z } from "zod";

export type JsonSchema = { readonly [key: string]: unknown };

const kept = new Set([
  "type",
  "description",
  "default",
  "enum",
  "pattern",
  "format",
  "minimum",
  "maximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "nullable",
  "required",
  "x-kubernetes-validations",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-preserve-unknown-fields",
  "maxProperties",
]);

/** The structural schema of `schema`; `where` names it in errors. */
export function structuralSchema(schema: z.ZodType, where: string): JsonSchema {
  const json = z.toJSONSchema(schema, {
    target: "openapi-3.0",
    io: "input",
    reused: "inline",
    override: ({ zodSchema, path }) => refuseFlags(zodSchema, `${where}.${path.join(".")}`),
  });
  return normalize(json, where);
}

/** A pattern's flags would be lost in the text of it; they are in no public place, so each step is checked. */
function refuseFlags(schema: unknown, where: string): void {
  const checks = property(property(property(schema, "_zod"), "def"), "checks");
  for (const check of Array.isArray(checks) ? (checks as unknown[]) : []) {
    const pattern = property(property(property(check, "_zod"), "def"), "pattern");
    if (pattern instanceof RegExp && pattern.flags !== "")
      throw new TypeError(`Cannot write ${where}: expected a pattern without flags, got ${String(pattern)}`);
  }
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function normalize(input: unknown, where: string): JsonSchema {
  if (!isObject(input)) throw new TypeError(`Cannot write ${where}: expected a schema, got ${typeof input}`);
  if (input["x-kubernetes-int-or-string"] === true) return intOrString(input, where);
  const output: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) {
    if (key === "properties") output[key] = propertiesOf(value, where);
    else if (key === "items") output[key] = normalize(value, `${where}[]`);
    // Strict objects: the API server refuses or prunes unknown fields by itself and knows no `false` here.
    else if (key === "additionalProperties" && (value === false || isOpen(input))) continue;
    else if (key === "additionalProperties" && input["properties"] === undefined)
      output[key] = normalize(value, `${where}.*`);
    else if (kept.has(key)) output[key] = value;
    else throw new TypeError(`Cannot write ${where}: expected a structural schema, got "${key}"`);
  }
  // Literal numbers: zod calls them numbers, and we have only whole ones.
  if (output["type"] === "number") output["type"] = "integer";
  check(output, where);
  if (output["type"] !== "integer") return output;
  return { ...output, ...integerBounds(output) };
}

/** Whatever the API server of the day knows: kept as it is, checked by nobody. */
function isOpen(schema: JsonSchema): boolean {
  return schema["x-kubernetes-preserve-unknown-fields"] === true;
}

/** The one union that a structural schema knows; bounds of the number and the pattern of the text stand side by side. */
function intOrString(input: JsonSchema, where: string): JsonSchema {
  const { anyOf, ...rest } = input;
  if (!Array.isArray(anyOf) || anyOf.length !== 2)
    throw new TypeError(`Cannot write ${where}: expected a whole number or a text`);
  const merged: Record<string, unknown> = {};
  for (const part of anyOf as unknown[])
    for (const [key, value] of Object.entries(isObject(part) ? part : {}))
      if (["minimum", "maximum", "pattern", "maxLength"].includes(key)) merged[key] = value;
  return { ...rest, ...merged };
}

function propertiesOf(value: unknown, where: string): JsonSchema {
  if (!isObject(value))
    throw new TypeError(`Cannot write ${where}: expected properties, got ${typeof value}`);
  return Object.fromEntries(
    Object.entries(value).map(([name, property]) => [name, normalize(property, `${where}.${name}`)]),
  );
}

function check(schema: JsonSchema, where: string): void {
  const { type, pattern } = schema;
  if (typeof type !== "string")
    throw new TypeError(`Cannot write ${where}: expected one type, got ${String(type)}`);
  if (type === "string" && schema["enum"] === undefined && schema["maxLength"] === undefined)
    throw new TypeError(
      `Cannot write ${where}: expected maxLength (the cost of CEL rules is estimated from it)`,
    );
  if (type === "array" && schema["maxItems"] === undefined)
    throw new TypeError(
      `Cannot write ${where}: expected maxItems (the cost of CEL rules is estimated from it)`,
    );
  if (type === "object" && schema["properties"] === undefined && schema["additionalProperties"] === undefined)
    throw new TypeError(`Cannot write ${where}: expected properties`);
  if (schema["additionalProperties"] !== undefined && schema["maxProperties"] === undefined)
    throw new TypeError(`Cannot write ${where}: expected maxProperties`);
  if (typeof pattern === "string" && /\(\?[=!<]|\\[1-9kpP]/.test(pattern))
    throw new TypeError(`Cannot write ${where}: expected a pattern that RE2 reads, got ${pattern}`);
}

/** zod bounds every integer by ±2^53; only narrower ones say something. */
function integerBounds({ minimum, maximum }: JsonSchema): JsonSchema {
  if (typeof minimum !== "number" || typeof maximum !== "number") return {};
  const format = minimum >= -(2 ** 31) && maximum < 2 ** 31 ? "int32" : "int64";
  return {
    format,
    ...(minimum <= Number.MIN_SAFE_INTEGER ? { minimum: undefined } : {}),
    ...(maximum >= Number.MAX_SAFE_INTEGER ? { maximum: undefined } : {}),
  };
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
