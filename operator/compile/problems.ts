/** What the compiler finds wrong with a resource, and the conditions and issues that say so. Pure. */
import type { Condition, ConditionType, Reason } from "#crds/api/v1alpha1/conditions.ts";
import { maxConditionMessage } from "#crds/api/v1alpha1/conditions.ts";
import type { Metadata } from "#crds/api/v1alpha1/metadata.ts";
import type { Issue } from "#crds/values/issue.ts";
import { formatIssue } from "#crds/values/issue.ts";

/** An issue with the condition that it makes False. */
export interface Problem {
  readonly condition: Extract<ConditionType, "Accepted" | "ResolvedRefs">;
  readonly reason: Reason;
  readonly where: string;
  readonly expected: string;
  readonly got: string;
}

export interface CompileIssue extends Issue {
  readonly reason: Reason;
}

export interface ResourceStatus {
  readonly kind: "SendingPool" | "TrafficShape" | "Tenant";
  readonly namespace: string;
  readonly name: string;
  /** Fields of the kind's status schema; whoever writes it adds the times of the conditions. */
  readonly status: {
    readonly observedGeneration?: number;
    readonly conditions: readonly Condition[];
    readonly [field: string]: unknown;
  };
}

export function refusal(reason: Reason, issue: Issue): Problem {
  return { condition: "Accepted", reason, where: issue.where, expected: issue.expected, got: issue.got };
}

export function unresolved(reason: Reason, issue: Issue): Problem {
  return { condition: "ResolvedRefs", reason, where: issue.where, expected: issue.expected, got: issue.got };
}

export function issuesOf(source: string, problems: readonly Problem[]): CompileIssue[] {
  return problems.map(({ reason, where, expected, got }) => ({ source, where, expected, got, reason }));
}

/** Accepted and ResolvedRefs; the first problem gives the reason, all of them the message, as far as there is room. */
function conditionsOf(problems: readonly Problem[]): Condition[] {
  return [
    conditionOf(
      "Accepted",
      problems.filter(({ condition }) => condition === "Accepted"),
    ),
    conditionOf(
      "ResolvedRefs",
      problems.filter(({ condition }) => condition === "ResolvedRefs"),
    ),
  ];
}

function conditionOf(type: "Accepted" | "ResolvedRefs", problems: readonly Problem[]): Condition {
  const [first] = problems;
  if (first === undefined) return { type, status: "True", reason: type, message: "" };
  const text = problems.map((problem) => formatIssue(problem)).join("; ");
  const message = text.length > maxConditionMessage ? `${text.slice(0, maxConditionMessage - 1)}…` : text;
  return { type, status: "False", reason: first.reason, message };
}

export function statusOf(
  kind: ResourceStatus["kind"],
  metadata: Metadata,
  rest: { readonly problems: readonly Problem[]; readonly fields: object },
): ResourceStatus {
  const { namespace, name, generation } = metadata;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  const status = { ...observed, conditions: conditionsOf(rest.problems), ...rest.fields };
  return { kind, namespace, name, status };
}
