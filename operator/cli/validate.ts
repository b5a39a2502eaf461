/** `mailboat validate`: the checks of admission and of the compiler, offline. Prints issues; reads files, writes nothing. */
import type { Reason } from "#crds/api/v1alpha1/conditions.ts";
import type { Snapshot } from "#crds/api/v1alpha1/snapshot.ts";
import type { Issue } from "#crds/values/issue.ts";
import { formatIssue } from "#crds/values/issue.ts";
import { compile } from "#operator/compile/compile.ts";
import { readResources } from "#operator/gather/folder.ts";
import { unlabelledTenants, withLabels } from "#operator/gather/namespaces.ts";

export interface ValidateOptions {
  /** Files and folders, one at least. */
  readonly files: readonly string[];
  readonly json: boolean;
  /** Called with each line of output. */
  out(line: string): void;
  /** Secrets are often not where the other resources are (sealed, external): then what they lack is only a note. Default false. */
  readonly withoutSecrets?: boolean;
}

type Finding = Issue & { readonly reason?: Reason; readonly severity: "error" | "note" };

const aboutMissingSecrets: ReadonlySet<Reason> = new Set<Reason>(["SecretNotFound", "SecretKeyNotFound"]);

/** Exit code: 0 when everything can be applied and run, else 1. */
function validate(options: ValidateOptions): number {
  const { snapshot, issues } = readResources(options.files);
  const found: Finding[] = issues.map((issue) => ({ ...issue, severity: "error" }));
  const count = countOf(snapshot);
  if (count === 0 && issues.length === 0) found.push(nothingFound(options.files));
  // A document that did not parse is missing for those that refer to it: say the cause, not what follows from it.
  const isWhole = issues.length === 0;
  // Namespaces are often made elsewhere: what can be checked is checked as if they had the labels.
  const unlabelled = unlabelledTenants(snapshot);
  for (const { issue } of unlabelled) found.push({ ...issue, reason: "RefNotPermitted", severity: "note" });
  for (const issue of compile(withLabels(snapshot, unlabelled), { generation: 0 }).issues) {
    if (!isWhole && isAboutReference(issue.reason)) continue;
    const isNote = options.withoutSecrets === true && aboutMissingSecrets.has(issue.reason);
    found.push({ ...issue, severity: isNote ? "note" : "error" });
  }
  const errors = found.filter(({ severity }) => severity === "error").length;
  if (options.json) options.out(JSON.stringify({ ok: errors === 0, resources: count, issues: found }));
  else printText(found, { count, errors, out: options.out });
  return errors === 0 ? 0 : 1;
}

/** The same as a promise, as commands are. */
export function runValidate(options: ValidateOptions): Promise<number> {
  return Promise.resolve(validate(options));
}

function printText(
  found: readonly Finding[],
  { count, errors, out }: { count: number; errors: number; out: (line: string) => void },
): void {
  for (const finding of found) out(`${finding.severity === "note" ? "note: " : ""}${formatIssue(finding)}`);
  const resources = `${count} resource${count === 1 ? "" : "s"}`;
  out(
    errors === 0
      ? `valid: ${resources}`
      : `invalid: ${errors} issue${errors === 1 ? "" : "s"}, ${resources} read`,
  );
}

function countOf({ pools, shapes, tenants, secrets }: Snapshot): number {
  return pools.length + shapes.length + tenants.length + secrets.length;
}

function isAboutReference(reason: Reason): boolean {
  return (
    aboutMissingSecrets.has(reason) ||
    reason === "PoolNotFound" ||
    reason === "TrafficShapeNotFound" ||
    reason === "TenantNotFound"
  );
}

function nothingFound(files: readonly string[]): Finding {
  return {
    source: files.join(", "),
    where: "files",
    expected: "one resource or more",
    got: "none",
    severity: "error",
  };
}
