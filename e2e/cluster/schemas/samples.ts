/** Objects of our kinds out of their schemas: the smallest valid one, and one with a value at some place. Pure. */

export interface Schema {
  readonly type: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly default?: unknown;
  readonly "x-kubernetes-validations"?: readonly Rule[];
  readonly additionalProperties?: Schema;
}

interface Rule {
  readonly rule: string;
  readonly message: string;
}

/** A rule and where it is: "" is the whole object, `spec.rules[].match` each rule's match. */
export interface PlacedRule extends Rule {
  readonly path: string;
  readonly schema: Schema;
}

/** What the schema alone does not say, by path: fields that rules about the object want to be there. */
export type Extras = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Strings to try against a pattern. */
const words = [
  "a",
  "a.example",
  "10s",
  "10/s",
  "127.0.0.1",
  "10.0.0.0/8",
  "nats://nats:4222",
  "/a",
  "a=b",
  "*",
];

export function rulesOf(schema: Schema, path = ""): PlacedRule[] {
  const own = (schema["x-kubernetes-validations"] ?? []).map((rule) => ({ ...rule, path, schema }));
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, one]) =>
    rulesOf(one, path === "" ? name : `${path}.${name}`),
  );
  const items = schema.items === undefined ? [] : rulesOf(schema.items, `${path}[]`);
  return [...own, ...below, ...items];
}

/** The smallest value that the schema and the extras allow. @throws Error on a pattern that no word fits */
export function sample(schema: Schema, extras: Extras, path = ""): unknown {
  switch (schema.type) {
    case "object": {
      const names = schema.required ?? [];
      const fields = names.map((name) => {
        const below = schema.properties?.[name];
        return [
          name,
          below === undefined ? {} : sample(below, extras, path === "" ? name : `${path}.${name}`),
        ];
      });
      return { ...(Object.fromEntries(fields) as object), ...extras[path] };
    }
    case "array":
      return schema.items !== undefined && (schema.minItems ?? 0) > 0
        ? [sample(schema.items, extras, `${path}[]`)]
        : [];
    case "integer":
      return schema.default ?? schema.enum?.[0] ?? Math.max(schema.minimum ?? 1, 1);
    case "boolean":
      return schema.default ?? false;
    case "string":
      return schema.default ?? schema.enum?.[0] ?? wordFor(schema, path);
    default:
      throw new Error(`Cannot make a sample of ${path}: expected a type, got ${schema.type}`);
  }
}

function wordFor({ pattern, format, minLength = 0 }: Schema, path: string): string {
  if (format === "date-time") return new Date(Date.now() - 90_000).toISOString();
  const fits = words.find(
    (word) => word.length >= minLength && (pattern === undefined || new RegExp(pattern).test(word)),
  );
  if (fits === undefined)
    throw new Error(`Cannot make a sample of ${path}: expected a word for ${pattern ?? ""}`);
  return fits;
}

/** The smallest object with `value` at `path`; an object's other fields are kept. @example sampleWith(schema, {}, "spec.replicas", 3) */
export function sampleWith(schema: Schema, extras: Extras, path: string, value: unknown): unknown {
  return place({ schema, extras, at: "", steps: path.match(/\[\]|[^.[\]]+/g) ?? [], value });
}

interface Placing {
  readonly schema: Schema;
  readonly extras: Extras;
  readonly at: string;
  readonly steps: readonly string[];
  readonly value: unknown;
}

function place({ schema, extras, at, steps, value }: Placing): unknown {
  const [step, ...rest] = steps;
  if (step === undefined)
    return isFields(value) ? { ...(sample(schema, { ...extras, [at]: {} }, at) as object), ...value } : value;
  if (step === "[]") {
    if (schema.items === undefined) throw new Error(`Cannot go to ${at}[]: expected a list`);
    return [place({ schema: schema.items, extras, at: `${at}[]`, steps: rest, value })];
  }
  const below = schema.properties?.[step];
  if (below === undefined) throw new Error(`Cannot go to ${at}.${step}: expected a field of the schema`);
  const next = at === "" ? step : `${at}.${step}`;
  const fields = sample(schema, extras, at) as object;
  return { ...fields, [step]: place({ schema: below, extras, at: next, steps: rest, value }) };
}

function isFields(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
