/** The values' schema → values.yaml, values.schema.json and the table of the chart's README. Pure; throws for a value without prose. */
import { stringify } from "yaml";
import { z } from "zod";

interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly properties?: Readonly<Record<string, Node>>;
}

const commentWidth = 110;

/** As Helm reads it: draft-07 is what every Helm 3 and 4 knows. */
export function valuesJsonSchema(schema: z.ZodType): string {
  const text = JSON.stringify(z.toJSONSchema(schema, { io: "input", target: "draft-7" }), null, 2);
  return `${text}\n`;
}

/** Each value with its prose above it. @throws Error that names the value that has none */
export function valuesYaml(schema: z.ZodType): string {
  return yamlOf(nodeOf(schema), []).join("\n");
}

/** One row per value: `a.b.c`, its default, what it is. */
export function valuesTable(schema: z.ZodType): string {
  const rows = leaves(nodeOf(schema), []).map(
    ([path, node]) => `| \`${path.join(".")}\` | \`${defaultText(node)}\` | ${prose(node, path)} |`,
  );
  return ["| value | default | what it is |", "|---|---|---|", ...rows].join("\n");
}

function nodeOf(schema: z.ZodType): Node {
  return z.toJSONSchema(schema, { io: "input", target: "draft-7" }) as Node;
}

function prose(node: Node, path: readonly string[]): string {
  if (node.description === undefined)
    throw new Error(`Cannot document "${path.join(".")}": expected a description, got none`);
  const options = node.enum ?? node.anyOf?.flatMap((one) => one.enum ?? []);
  return options === undefined || options.length === 0
    ? node.description
    : `${node.description} One of: ${options.join(", ")}.`;
}

function yamlOf(node: Node, path: readonly string[]): string[] {
  const indent = "  ".repeat(path.length);
  const lines: string[] = [];
  for (const [name, child] of Object.entries(node.properties ?? {})) {
    const inner = [...path, name];
    if (path.length === 0 && lines.length > 0) lines.push("");
    const comment = isSwitch(child) ? [] : wrapped(prose(child, inner), commentWidth - indent.length);
    lines.push(...comment.map((line) => `${indent}# ${line}`));
    if (child.properties === undefined) {
      const text = stringify({ [name]: child.default }, { lineWidth: 0 }).trimEnd();
      lines.push(...text.split("\n").map((line) => `${indent}${line}`));
    } else {
      lines.push(`${indent}${name}:`, ...yamlOf(child, inner));
    }
  }
  return path.length === 0 ? [...lines, ""] : lines;
}

/** Nothing but `enabled`, which says it all. */
function isSwitch({ properties }: Node): boolean {
  return properties !== undefined && Object.keys(properties).join() === "enabled";
}

function leaves(node: Node, path: readonly string[]): [string[], Node][] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]): [string[], Node][] =>
    child.properties === undefined ? [[[...path, name], child]] : leaves(child, [...path, name]),
  );
}

function defaultText(node: Node): string {
  return JSON.stringify(node.default ?? null);
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}
