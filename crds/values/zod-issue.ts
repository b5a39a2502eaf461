/** Turns zod's issues into the contract's (where, expected, got), naming the fields that are known. Pure. */
import type { z } from "zod";
import type { Issue, Parsed } from "./issue.ts";

type ZodIssue = z.core.$ZodIssue;

/** Parses `input` by `schema`; every issue has a path, what was expected and what was there. */
export function parseBy<Schema extends z.ZodType>(schema: Schema, input: unknown): Parsed<z.output<Schema>> {
  const result = schema.safeParse(input);
  if (result.success) return { ok: true, value: result.data };
  return { ok: false, issues: result.error.issues.flatMap((issue) => issuesOf(issue, schema, input)) };
}

/** @example pathText(["spec", "rules", 2, "a-b"]) === 'spec.rules[2]["a-b"]' */
function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[A-Za-z_$][\w$]*$/.test(String(step))) text += text === "" ? String(step) : `.${String(step)}`;
    else text += `[${JSON.stringify(String(step))}]`;
  }
  return text;
}

/** A short description of a value for `got`: texts are quoted and cut, collections are only counted. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string")
    return value.length > 60
      ? `${JSON.stringify(value.slice(0, 60))}… (${value.length} characters)`
      : JSON.stringify(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

function issuesOf(issue: ZodIssue, schema: z.ZodType, input: unknown): Issue[] {
  if (issue.code === "unrecognized_keys") {
    const known = fieldsAt(schema, issue.path);
    return issue.keys.map((key) => ({
      where: pathText([...issue.path, key]),
      expected: known.length === 0 ? "no such field" : `one of the fields ${known.join(", ")}`,
      got: `the unknown field ${JSON.stringify(key)}`,
    }));
  }
  const where = pathText(issue.path);
  return [{ where, expected: expectedBy(issue), got: gotBy(issue) ?? describe(valueAt(input, issue.path)) }];
}

/** What one of our own rules found, or the name that is wrong. */
function gotBy(issue: ZodIssue): string | undefined {
  if (issue.code === "invalid_key") return JSON.stringify(String(issue.path.at(-1)));
  const got: unknown = issue.code === "custom" ? issue.params?.["got"] : undefined;
  return typeof got === "string" ? got : undefined;
}

function expectedBy(issue: ZodIssue): string {
  if (issue.code === "invalid_type") return article(issue.expected);
  if (issue.code === "invalid_value") return oneOf(issue.values.map((value) => JSON.stringify(value)));
  if (issue.code === "too_big")
    return `${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}${unit(issue.origin)}`;
  if (issue.code === "too_small")
    return `${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}${unit(issue.origin)}`;
  // Our own rules and patterns carry their expectation as the message.
  return issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
}

function oneOf(values: readonly string[]): string {
  return values.length === 1 ? (values[0] ?? "") : `one of ${values.join(", ")}`;
}

function article(type: string): string {
  if (type === "int" || type === "integer") return "a whole number";
  if (type === "array") return "a list";
  if (type === "record" || type === "object") return "an object";
  return `a ${type}`;
}

function unit(origin: string): string {
  if (origin === "string") return " characters";
  return origin === "array" ? " items" : origin === "record" || origin === "object" ? " fields" : "";
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Object.hasOwn(value, step) ? Reflect.get(value, step) : undefined;
  }
  return value;
}

/** Names of the fields that the object schema at `path` knows; empty when there is none. */
function fieldsAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = bare(schema);
  for (const step of path) at = bare(child(at, step));
  const shape = property(property(at, "def"), "shape");
  return typeof shape === "object" && shape !== null ? Object.keys(shape) : [];
}

function child(schema: unknown, step: PropertyKey): unknown {
  const def = property(schema, "def");
  return typeof step === "number" ? property(def, "element") : property(property(def, "shape"), step);
}

/** Without what wraps it: optional, default. */
function bare(schema: unknown): unknown {
  let at = schema;
  for (let inner = at; inner !== undefined; inner = property(property(at, "def"), "innerType")) at = inner;
  return at;
}

function property(value: unknown, name: PropertyKey): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
